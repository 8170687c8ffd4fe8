"""Components without their weights: the real classes on the meta device, and what they take."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.folders import read_json
from pipelines.checkpoints.gguf import is_gguf
from pipelines.checkpoints.load import without_weights
from pipelines.checkpoints.quantise import Quantisation, pieces, quantise
from pipelines.checkpoints.text_encoder import empty_text_encoder
from pipelines.memory.adapters import HollowAdapters, acting
from pipelines.memory.recall import recalled
from pipelines.plan import Variant
from pipelines.residency import STREAMED, tables
from pipelines.upstream.block_streaming import block_list
from pipelines.upstream.prompt_tokens import MAX_TOKENS

ALWAYS_FP32 = ("audio_vae", "vocoder")
# All blocks of a transformer are alike and follow one another: the second one shows what the first
# leaves behind.
BLOCKS = 2
# What stages call of a component; "" is the component itself.
RECALLED = {"text_encoder": ("model",), "vae": ("encoder", "decoder"), "audio_vae": ("decoder",)}
Build = Callable[[str, Variant], nn.Module]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Bytes of a component's weights."""

    whole: int
    outside: int  # of what does not lie in its list of blocks
    block: int  # of its largest block; 0 for a component without blocks
    locked: int  # of all of it where its blocks lie in page-locked memory

    @property
    def streamed(self) -> int:
        """What is on the device at once where blocks come one by one: one at work, the next one."""
        return self.outside + min(2 * self.block, self.whole - self.outside)


def size_of(module: nn.Module, *, blocks: bool) -> Size:
    """What the weights of a module take, tied ones counted once."""
    whole = tensor_bytes(module)
    if not blocks:
        return Size(whole=whole, outside=whole, block=0, locked=whole)
    stack = block_list(module)
    outside = whole - tensor_bytes(stack)
    return Size(
        whole=whole,
        outside=outside,
        block=max(tensor_bytes(block) for block in stack),
        # torch takes it in powers of two.
        locked=outside + sum(1 << (piece.nbytes - 1).bit_length() for piece in _pieces(stack)),
    )


def tensor_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers; of rounded weights with their scales."""
    return sum(piece.nbytes for piece in _pieces(module))


def _pieces(module: nn.Module) -> Iterator[Tensor]:
    """The plain tensors of a module, each once.

    Read from the modules' own tables: torch's iterators make a name for each, and every job asks.
    """
    held: dict[int, Tensor] = {}
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        for tensor in (*each._parameters.values(), *each._buffers.values()):
            if tensor is not None:
                held[id(tensor)] = tensor
        waiting += [child for child in each._modules.values() if child is not None]
    for tensor in held.values():
        if type(tensor) in (Tensor, nn.Parameter):  # nothing in it: most are
            yield tensor
        else:
            yield from pieces(tensor)


@dataclass(frozen=True, slots=True)
class StandInTokenizer:
    """Makes one token of every prompt: it is padded to the same length as any other."""

    model_max_length: int = MAX_TOKENS
    bos_token_id: int = 0
    eos_token_id: int = 1
    pad_token_id: int = 2

    def __call__(self, _text: str, **_options: object) -> dict[str, list[int]]:
        """The ids of a text."""
        return {"input_ids": [3]}


class Outlines:
    """The components of one checkpoint, each built once and without weights.

    `build` gives a component's module, `tokens` the length of a padded prompt, `quantisation` by
    component what its weights are rounded to, and `stored` the bytes of a component whose weights
    stay as their file has them. The transformer has two of its blocks left, which is enough to see
    a pass; sizes are those of the whole.
    """

    def __init__(
        self,
        build: Build,
        *,
        dtype: torch.dtype,
        tokens: Callable[[], int] = lambda: MAX_TOKENS,
        quantisation: Mapping[str, Quantisation] = MappingProxyType({}),
        stored: Callable[[str, Variant], int | None] = lambda _component, _variant: None,
    ) -> None:
        self.operations: dict[Any, Any] = {}  # seen by `Hollow`, for every run on these
        self._build = build
        self.dtype = dtype
        self._tokens = tokens
        self._quantisation = quantisation
        self._stored = stored
        self._parts: dict[tuple[str, Variant], Any] = {}
        self._sizes: dict[tuple[str, Variant], Size] = {}
        self._linears: dict[int, dict[str, tuple[int, int]]] = {}  # by identity of the module
        self.adapters = HollowAdapters(self.linears, dtype)

    def part(self, component: str, variant: Variant) -> Any:  # noqa: ANN401 - any part
        """A component on the meta device, or what stands in for the tokenizer."""
        if component == "tokenizer":
            return StandInTokenizer(self._tokens())
        self._prepare(component, variant)
        return self._parts[component, variant]

    def size(self, component: str, variant: Variant) -> Size:
        """What a component's weights take."""
        if component == "tokenizer":
            return Size(whole=0, outside=0, block=0, locked=0)
        self._prepare(component, variant)
        return self._sizes[component, variant]

    def linears(self, module: nn.Module) -> dict[str, tuple[int, int]]:
        """Every linear layer that one of these parts had by its path: (out, in) features."""
        return self._linears[id(module)]

    def _prepare(self, component: str, variant: Variant) -> None:
        key = (component, variant)
        if key in self._parts:
            return
        dtype = torch.float32 if component in ALWAYS_FP32 else self.dtype
        module = self._build(component, variant).requires_grad_(False).eval()
        if component == "text_encoder":
            module.tie_weights()  # type: ignore[operator] - of transformers' models
        _hollow(module, dtype)
        quantise(module, component, self._quantisation.get(component, "none"))
        size = size_of(module, blocks=component in STREAMED)
        if stored := self._stored(component, variant):
            share = stored / size.whole
            size = Size(
                whole=stored,
                outside=round(size.outside * share),
                block=round(size.block * share),
                locked=round(size.locked * share),
            )
        self._sizes[key] = size
        self._linears[id(module)] = {
            path: (layer.out_features, layer.in_features)
            for path, layer in module.named_modules()
            if isinstance(layer, nn.Linear)
        }
        if component == "transformer":
            del block_list(module)[BLOCKS:]
        for path in RECALLED.get(component, ("",)):
            called = module.get_submodule(path)
            called.forward = recalled(called.forward, partial(acting, called))
        self._parts[key] = module


def _hollow(module: nn.Module, dtype: torch.dtype) -> None:
    """Put a module's tensors on the meta device, its parameters in another type; ties are kept."""
    new: dict[int, Tensor] = {}
    for table, name, tensor in tables(module):
        if id(tensor) not in new:
            weight = isinstance(tensor, nn.Parameter)
            kind = dtype if weight else tensor.dtype
            data = torch.empty_like(tensor, device="meta", dtype=kind)
            new[id(tensor)] = nn.Parameter(data, requires_grad=False) if weight else data
        table[name] = new[id(tensor)]


def outlines_of(
    weights: Weights,
    *,
    dtype: torch.dtype,
    quantisation: Mapping[str, Quantisation] = MappingProxyType({}),
) -> Outlines:
    """The components of a checkpoint on disk, from its headers and configurations."""

    def build(component: str, variant: Variant) -> nn.Module:
        if component == "text_encoder":
            return empty_text_encoder(weights.files(component)[0])
        return without_weights(weights, component, variant)

    def stored(component: str, variant: Variant) -> int | None:
        """Bytes of a file whose weights stay packed as they are."""
        file = weights.files(component, variant)[0]
        return file.stat().st_size if is_gguf(file) else None

    return Outlines(
        build,
        dtype=dtype,
        tokens=lambda: _prompt_length(weights.files("tokenizer")[0]),
        quantisation=quantisation,
        stored=stored,
    )


def _prompt_length(tokenizer: Path) -> int:
    """Tokens that every prompt is padded to."""
    config = tokenizer / "tokenizer_config.json"
    told = read_json(config).get("model_max_length") if config.is_file() else None
    return min(int(told), MAX_TOKENS) if told else MAX_TOKENS
