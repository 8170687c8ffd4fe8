"""LoRAs of the transformer: put on by PEFT, trained, and named as Lightricks' files name them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from pipelines.checkpoints import keys

PREFIX = "diffusion_model."


def layers(transformer: nn.Module, *, everything: bool) -> list[str]:
    """The linear layers that a LoRA acts on: all of them, or attention to picture and prompt and
    feed-forward of the video stream.
    """
    return [
        name
        for name, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear)
        and (everything or any(part in name for part in (".attn1.", ".attn2.", ".ff.")))
    ]


def add(transformer: nn.Module, rank: int, *, everything: bool, seed: int) -> None:
    """Freeze the transformer and put a LoRA on it that changes nothing yet."""
    torch.manual_seed(seed)
    transformer.requires_grad_(requires_grad=False)
    wanted = layers(transformer, everything=everything)
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=wanted))


def tensors(transformer: nn.Module) -> dict[str, Tensor]:
    """The LoRA's tensors by Lightricks' names, such as
    `diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight`.
    """
    found = {}
    for name, value in transformer.state_dict().items():
        if ".lora_" not in name:
            continue
        layer, _, half = name.partition(".lora_")
        original = keys.to_original("transformer", layer).removeprefix(keys.TRANSFORMER_PREFIX)
        found[f"{PREFIX}{original}.lora_{half[0]}.weight"] = value.detach().clone()
    return found


def products(transformer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each layer's name and what the LoRA adds to its weight."""
    for name, layer in transformer.named_modules():
        pair = getattr(layer, "lora_A", None)
        if pair:
            (adapter,) = pair
            yield name, layer.lora_B[adapter].weight @ layer.lora_A[adapter].weight


@contextmanager
def added(transformer: nn.Module, extra: Mapping[str, Tensor]) -> Iterator[None]:
    """The transformer with these `products` of another LoRA added to its weights, inside the
    `with`; a gradient may be taken after it.
    """
    layers = [transformer.get_submodule(name) for name in extra]
    layers = [layer.get_base_layer() if isinstance(layer, LoraLayer) else layer for layer in layers]
    kept = [layer.weight for layer in layers]
    try:
        for layer, weight, more in zip(layers, kept, extra.values(), strict=True):
            # Another parameter, not another value: a gradient still needs the one it was made of.
            layer.weight = nn.Parameter(weight.detach() + more, requires_grad=False)
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight = weight


@contextmanager
def without(transformer: nn.Module) -> Iterator[None]:
    """The transformer as it is without the LoRA, inside the `with`; also inside another one."""
    outer = next(
        layer.disable_adapters for layer in transformer.modules() if isinstance(layer, LoraLayer)
    )
    transformer.disable_adapters()
    try:
        yield
    finally:
        if not outer:
            transformer.enable_adapters()
