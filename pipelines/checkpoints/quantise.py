"""Weight-only quantisation through torchao: which layers are rounded, and how.

A weight becomes one byte an element, with one float32 scale for each output channel, and is widened
again where it is multiplied; activations keep their type. It saves memory, not time.

Rounded are the linear layers inside the transformer's blocks (97 to 98 % of its weights) and inside
the text encoder's decoder layers (88 %). Not rounded are embeddings, norms, the modulation tables
with the layers that make them, the gates of attention heads, and the projections into and out of a
model: they are small, every token of every block passes them, and rounding them as well made the
error of a pass on the embedded checkpoint, before it was trained, 1.7 times as large.

All blocks are rounded alike. Recipes that round activations, too, spare the first block and the
last ones for the outliers of their activations, which are not rounded here. On the embedded
checkpoint, before it was trained, sparing the first and the last block made an error of 0.4 %
(int8) or 3 % (fp8) one of 0.3 % and 2 %, for half of what is saved; docs/numerics.md has what a
base pass loses now. What the released weights lose is not known from it.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchao.quantization import Float8Tensor, Int8Tensor, PerRow

Quantisation = Literal["none", "fp8", "int8"]
QUANTISATIONS: tuple[str, ...] = get_args(Quantisation)
# By component, the paths of the layers that are rounded. The text encoder's class may be the
# language model alone or one that also sees pictures, whose tower no prompt reaches.
_LAYERS = {
    "transformer": re.compile(r"transformer_blocks\.\d+\.(?!.*to_gate_logits).+"),
    "text_encoder": re.compile(
        r"(?:model\.)?(?:language_model\.)?layers\.\d+\.(?:self_attn|mlp)\.\w+_proj"
    ),
}
QUANTISABLE = tuple(_LAYERS)


def is_rounded(component: str, path: str, layer: nn.Module) -> bool:
    """Whether the weight of a component's layer is rounded."""
    return isinstance(layer, nn.Linear) and bool(_LAYERS[component].fullmatch(path))


def rounded(weight: Tensor, kind: Quantisation) -> Tensor:
    """A weight of shape (out, in) as a torchao tensor of the same shape, device and nominal type.

    "int8" is symmetric, "fp8" is e4m3.
    """
    with torch.no_grad():
        if kind == "int8":
            return Int8Tensor.from_hp(weight, granularity=PerRow())
        if kind == "fp8":
            return Float8Tensor.from_hp(weight, torch.float8_e4m3fn, granularity=PerRow())
    raise ValueError(f"{kind!r} rounds nothing; it is one of {', '.join(QUANTISATIONS)}")


def quantise(module: nn.Module, component: str, kind: Quantisation) -> None:
    """Round a module that is loaded already, or one on the meta device, layer by layer in place."""
    if kind == "none":
        return
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and is_rounded(component, path, layer):
            layer.weight = nn.Parameter(rounded(layer.weight.data, kind), requires_grad=False)


def text_encoder_options(kind: Quantisation) -> dict[str, Any]:
    """What `from_pretrained` of transformers takes, so that each weight is rounded as it is read.

    Empty for "none".
    """
    if kind == "none":
        return {}
    from torchao.quantization import Float8WeightOnlyConfig, FqnToConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    # The setter of inductor's options would also turn on TF32 for every float32 part.
    each = {"int8": Int8WeightOnlyConfig, "fp8": Float8WeightOnlyConfig}[kind](
        granularity=PerRow(), set_inductor_config=False
    )
    layers = FqnToConfig(OrderedDict({f"re:{_LAYERS['text_encoder'].pattern}": each}))
    return {"quantization_config": TorchAoConfig(layers)}


def weight_bytes(module: nn.Module) -> int:
    """Bytes that a module's parameters and buffers take, scales included, tied ones once.

    `Tensor.nbytes` of a rounded weight tells what it would take unrounded.
    """
    held = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(piece.nbytes for tensor in held.values() for piece in pieces(tensor))


def pieces(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors a tensor is made of: itself, or a rounded weight's data and scales."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor
        return
    names, _ = flatten()
    for name in names:
        yield from pieces(getattr(tensor, name))
