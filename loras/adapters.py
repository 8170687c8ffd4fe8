"""LoRA files as PEFT adapters on a module: loaded once, switched by strength, never left behind."""

import json
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import Tensor, nn

from loras.keys import Layout, LoraMismatch, Role, layout

__all__ = ["AdapterStore", "Loaded", "LoraMismatch", "metadata"]

logger = logging.getLogger(__name__)

# The text connectors run before the transformer and belong to no pass; the reference leaves them as they are, too.
_CONNECTOR_PARTS = ("_embeddings_connector", "_connector.", "text_embedding_projection")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An adapter that lies on a module."""

    name: str  # PEFT's name of it
    layers: int
    nbytes: int


def metadata(file: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file, e.g. `reference_downscale_factor`; reads the header only."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    return dict(header.get("__metadata__", {}))


class AdapterStore:
    """Adapters of a process: files stay on their module up to `max_bytes`, the least recently used go first.

    `original` gives a module's path in Lightricks' spelling, so that files in that spelling are found.
    """

    def __init__(self, original: Callable[[str], str], *, max_bytes: int = 16 * 2**30) -> None:
        self._original = original
        self._max_bytes = max_bytes
        self._loaded: dict[int, OrderedDict[str, Loaded]] = {}  # by id of the module, then by file
        self._names = count(1)

    @contextmanager
    def applied(self, module: nn.Module, adapters: Sequence[tuple[Path, float]]) -> Iterator[None]:
        """Exactly these files act on `module` inside the block, each at its strength: W + strength * alpha / rank * B A.

        The state before is restored afterwards, also after an error. Raises LoraMismatch for a file that does not fit.
        """
        wanted: dict[str, float] = {}
        for file, strength in adapters:
            name = self._ensure(module, file, keep=set(wanted)).name
            wanted[name] = wanted.get(name, 0.0) + strength
        layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
        before = [(list(layer.active_adapters), dict(layer.scaling)) for layer in layers]
        try:
            for layer in layers:
                names = [name for name in wanted if name in layer.scaling]
                layer.set_adapter(names)
                for name in names:
                    layer.set_scale(name, wanted[name])
            yield
        finally:
            for layer, (active, scaling) in zip(layers, before, strict=True):
                layer.set_adapter(active)
                layer.scaling.update(scaling)

    def forget(self, module: nn.Module) -> None:
        """Drop the records of a module that is going away with its adapters."""
        self._loaded.pop(id(module), None)

    def loaded(self, module: nn.Module) -> list[Loaded]:
        """What lies on a module, least recently used first."""
        return list(self._loaded.get(id(module), {}).values())

    def _ensure(self, module: nn.Module, file: Path, keep: set[str]) -> Loaded:
        known = self._loaded.setdefault(id(module), OrderedDict())
        stat = file.stat()
        key = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        if key in known:
            known.move_to_end(key)
            return known[key]
        loaded = load(module, file, f"lora_{next(self._names)}", self._original)
        known[key] = loaded
        self._evict(module, known, keep | {loaded.name})
        return loaded

    def _evict(self, module: nn.Module, known: OrderedDict[str, Loaded], keep: set[str]) -> None:
        while sum(item.nbytes for item in known.values()) > self._max_bytes:
            oldest = next((key for key, item in known.items() if item.name not in keep), None)
            if oldest is None:
                return
            name = known.pop(oldest).name
            for layer in module.modules():
                if isinstance(layer, BaseTunerLayer) and name in layer.scaling:
                    layer.delete_adapter(name)


def load(module: nn.Module, file: Path, name: str, original: Callable[[str], str]) -> Loaded:
    """Put a LoRA file on `module` as the inactive adapter `name`.

    Raises LoraMismatch where the file is no LoRA, fits no layer, fits only some, or has other shapes: nothing is changed then.
    """
    if file.suffix != ".safetensors":
        raise LoraMismatch(f"{file.name}: only .safetensors files are loaded")
    linears = {path: layer for path, layer in _linears(module)}
    with safe_open(file, framework="pt") as content:
        found = layout(content.keys(), linears, original)
        _check_names(file, found)
        pairs = {
            path: {role: content.get_tensor(tensor) for role, tensor in tensors.items()}
            for path, tensors in found.modules.items()
        }
    _check_shapes(file, pairs, linears)
    ranks = {path: pair["A"].shape[0] for path, pair in pairs.items()}
    alphas = {path: float(pair["alpha"]) if "alpha" in pair else ranks[path] for path, pair in pairs.items()}
    rank = max(ranks.values())
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        rank_pattern={f"^{_escaped(path)}$": value for path, value in ranks.items() if value != rank},
        target_modules=list(pairs),
        init_lora_weights=False,
    )
    was_training = module.training
    targets = {f"{path}.lora_A.weight": torch.empty(0) for path in pairs}
    with warnings.catch_warnings():
        # PEFT suspects a mistake where a module gets a second adapter; here that is the purpose.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        inject_adapter_in_model(config, module, adapter_name=name, state_dict=targets)
    for path, layer in _tuners(module):
        if name in layer.scaling:
            base = layer.get_base_layer().weight
            for role, holder in (("A", layer.lora_A), ("B", layer.lora_B)):
                weight = pairs[path][role].to(base.device, base.dtype)
                holder[name].weight = nn.Parameter(weight, requires_grad=False)
            layer.lora_alpha[name] = alphas[path]
            layer.set_scale(name, 1.0)
            layer.set_adapter([active for active in layer.active_adapters if active != name])
    module.requires_grad_(False).train(was_training)
    nbytes = sum(pair[role].numel() for pair in pairs.values() for role in ("A", "B"))
    return Loaded(name=name, layers=len(pairs), nbytes=nbytes * next(module.parameters()).element_size())


def _linears(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Linear) and ".lora_" not in path and not path.endswith(".base_layer"):
            yield path, layer
        elif isinstance(layer, BaseTunerLayer):
            yield path, layer.get_base_layer()


def _tuners(module: nn.Module) -> Iterator[tuple[str, BaseTunerLayer]]:
    for path, layer in module.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield path, layer


def _escaped(path: str) -> str:
    return path.replace(".", r"\.")


def _check_names(file: Path, found: Layout) -> None:
    connectors = [name for name in found.unmatched if any(part in name for part in _CONNECTOR_PARTS)]
    strangers = [name for name in found.unmatched if name not in connectors]
    incomplete = [path for path, roles in found.modules.items() if not {"A", "B"} <= set(roles)]
    if not found.modules:
        raise LoraMismatch(f"{file.name} fits no layer of this model; it has {_some(strangers)}")
    if strangers:
        raise LoraMismatch(
            f"{file.name} fits {len(found.modules)} layers, but {len(strangers)} of its tensors belong to no layer of"
            f" this model: {_some(strangers)}"
        )
    if incomplete:
        raise LoraMismatch(f"{file.name} has only one half of the pair for {_some(incomplete)}")
    if connectors:
        logger.warning("%s: %d tensors for the text connectors are not used", file.name, len(connectors))


def _check_shapes(file: Path, pairs: dict[str, dict[Role, Tensor]], linears: dict[str, nn.Linear]) -> None:
    wrong = []
    for path, pair in pairs.items():
        out_features, in_features = linears[path].weight.shape
        (rank, reads), (writes, ranks) = pair["A"].shape, pair["B"].shape
        if (reads, writes, ranks) != (in_features, out_features, rank):
            wrong.append(f"{path} ({reads}->{rank}->{writes}, the model has {in_features}->{out_features})")
    if wrong:
        raise LoraMismatch(f"{file.name} was made for a model of another size: {_some(wrong)}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _EXAMPLES
    return ", ".join(names[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "") or "no tensors"
