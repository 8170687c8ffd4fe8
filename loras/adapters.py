"""LoRA files as PEFT layers on a module: loaded once, switched by strength, never left behind.

PEFT's own layers are put in place directly. Its injection by configuration would switch on the new
adapter everywhere, freeze the base weights and match ranks by regular expressions; here every layer
gets exactly its rank and alpha, and nothing else changes.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from weakref import ref

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import nn

from loras import headers
from loras.headers import metadata
from loras.keys import LoraMismatch, Match, Pair, match, some

__all__ = ["AdapterStore", "Loaded", "LoraMismatch", "applied", "load", "metadata", "unload"]

logger = logging.getLogger(__name__)

Modules = nn.Module | Mapping[str, nn.Module]  # a bare module is the transformer

# Room for the largest published files (distilled: 7.1 GB at rank 384, more at 450) and some others.
MAX_BYTES = 16 * 2**30
# A weight of another type is stored for a cast before use (float8) or quantised; factors are not.
_PLAIN = (torch.float32, torch.bfloat16, torch.float16)
# Plain LoRA for inference; rank and alpha are given with every layer.
_CONFIG = LoraConfig(init_lora_weights=False, inference_mode=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An adapter that lies on its modules."""

    name: str
    rank: int  # the largest, where layers differ
    layers: int
    nbytes: int  # of its weights in memory
    metadata: Mapping[str, str]  # the file's own
    left_out: tuple[str, ...]  # tensors for text connectors that were not among the modules


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A file that has been found to fit, before any of its data is read."""

    file: Path
    match: Match
    metadata: Mapping[str, str]
    nbytes: int


def load(modules: Modules, file: Path, name: str, *, max_file_bytes: int = MAX_BYTES) -> Loaded:
    """Put a LoRA file on the modules as the inactive adapter `name`.

    Weights go to the device and type of the layer they belong to. Names and shapes are checked in
    the file's header first; whatever fails, the modules are as before. Raises LoraMismatch for a
    file that is no LoRA of these modules, is larger than `max_file_bytes` or is no safetensors
    file, and ValueError for a name that is taken or has a dot.
    """
    parts = _parts(modules)
    if not name or "." in name or name in _names(parts):
        raise ValueError(f"adapter name {name!r} is taken, empty or has a dot")
    return _attach(parts, _prepare(parts, file, max_file_bytes), name)


def unload(modules: Modules, name: str) -> None:
    """Take an adapter off; layers that no other adapter needs become what they were before."""
    for module in _parts(modules).values():
        for path, layer in list(_lora_layers(module)):
            if name not in layer.scaling:
                continue
            # PEFT would switch on some other adapter in place of an active one.
            _activate(layer, [active for active in layer.active_adapters if active != name])
            layer.delete_adapter(name)
            if not layer.scaling:
                _put(module, path, layer.get_base_layer())


@contextmanager
def applied(modules: Modules, adapters: Sequence[tuple[str, float]]) -> Iterator[None]:
    """Exactly these adapters act inside the block: W + sum of strength * alpha / rank * B @ A.

    Strengths of an adapter that is named twice add up; 0 switches it off. Afterwards, also after an
    error, adapters and strengths are as before. Raises LookupError for a name that is not loaded,
    RuntimeError where adapters have been fused into the weights.
    """
    strengths: dict[str, float] = {}
    for name, strength in adapters:
        if not math.isfinite(strength):
            raise ValueError(f"strength {strength} of {name} is no finite number")
        strengths[name] = strengths.get(name, 0.0) + strength
    parts = _parts(modules)
    known = _names(parts)
    if unknown := sorted(strengths.keys() - known):
        raise LookupError(
            f"not loaded: {', '.join(unknown)}; there are {', '.join(sorted(known)) or 'none'}"
        )
    layers = [layer for module in parts.values() for _, layer in _lora_layers(module)]
    if any(layer.merged for layer in layers):
        raise RuntimeError("adapters are fused into the weights; unfuse them first")
    before = [_State(layer) for layer in layers]
    try:
        for layer in layers:
            names = [name for name, value in strengths.items() if value and name in layer.scaling]
            if layer.disable_adapters:
                layer.enable_adapters(True)
            _activate(layer, names)
            for name in names:
                layer.set_scale(name, strengths[name])
        yield
    finally:
        for state in before:
            state.restore()


class _State:
    """Which adapters act on a layer, and how strongly."""

    def __init__(self, layer: LoraLayer) -> None:
        self._layer = layer
        self._active = list(layer.active_adapters)
        self._scaling = dict(layer.scaling)
        self._enabled = not layer.disable_adapters

    def restore(self) -> None:
        if self._layer.disable_adapters == self._enabled:
            self._layer.enable_adapters(self._enabled)
        _activate(self._layer, self._active)
        self._layer.scaling.update(self._scaling)


@dataclass(slots=True)
class _Resident:
    """A file that lies on modules, which it does not keep alive."""

    loaded: Loaded
    modules: tuple[tuple[str, "ref[nn.Module]"], ...]
    uses: int = field(default=0)

    def parts(self) -> dict[str, nn.Module]:
        """The modules that still exist."""
        found = ((name, reference()) for name, reference in self.modules)
        return {name: module for name, module in found if module is not None}


class AdapterStore:
    """The adapters of a process: files stay on their modules up to `max_bytes` in all.

    The least recently used go first, never one that is applied.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES, max_file_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._residents: OrderedDict[tuple[tuple[int, ...], str], _Resident] = OrderedDict()
        self._numbers = count(1)

    @contextmanager
    def applied(self, modules: Modules, files: Sequence[tuple[Path, float]]) -> Iterator[None]:
        """Exactly these files act inside the block, each at its strength; see `applied`."""
        parts = _parts(modules)
        with ExitStack() as stack:
            adapters = []
            for file, strength in files:
                resident = self._ensure(parts, file)
                stack.enter_context(_in_use(resident))
                adapters.append((resident.loaded.name, strength))
            stack.enter_context(applied(parts, adapters))
            yield

    def loaded(self, modules: Modules) -> list[Loaded]:
        """What lies on the modules, least recently used first."""
        key = _identity(_parts(modules))
        return [resident.loaded for (ids, _), resident in self._residents.items() if ids == key]

    def forget(self, module: nn.Module) -> None:
        """Drop the records of a module that is going away with its adapters."""
        for key in [key for key in self._residents if id(module) in key[0]]:
            resident = self._residents.pop(key)
            others = {n: part for n, part in resident.parts().items() if part is not module}
            unload(others, resident.loaded.name)

    def _ensure(self, parts: dict[str, nn.Module], file: Path) -> _Resident:
        """A file's adapter on the modules, loaded if it is not there yet, not active."""
        self._forget_the_dead()
        key = (_identity(parts), _stamp(file))
        if key in self._residents:
            self._residents.move_to_end(key)
            return self._residents[key]
        prepared = _prepare(parts, file, self._max_file_bytes)
        self._make_room(prepared)
        name = f"lora_{next(self._numbers)}"
        references = tuple((component, ref(module)) for component, module in parts.items())
        resident = _Resident(_attach(parts, prepared, name), references)
        self._residents[key] = resident
        return resident

    def _make_room(self, prepared: _Prepared) -> None:
        """Evict until the file fits; before it is read, so that the peak is bounded, too."""
        used = sum(resident.loaded.nbytes for resident in self._residents.values() if resident.uses)
        if used + prepared.nbytes > self._max_bytes:
            raise LoraMismatch(
                f"{prepared.file.name} takes {_gib(prepared.nbytes)} beside {_gib(used)} in use; "
                f"all adapters together may take {_gib(self._max_bytes)}"
            )
        idle = [key for key, resident in self._residents.items() if not resident.uses]
        total = sum(resident.loaded.nbytes for resident in self._residents.values())
        while total + prepared.nbytes > self._max_bytes:
            resident = self._residents.pop(idle.pop(0))
            unload(resident.parts(), resident.loaded.name)
            total -= resident.loaded.nbytes
            logger.info("unloaded %s to make room", resident.loaded.name)

    def _forget_the_dead(self) -> None:
        """Records whose modules are gone: an id may come back with another module behind it."""
        for key in [key for key, r in self._residents.items() if len(r.parts()) < len(r.modules)]:
            resident = self._residents.pop(key)
            unload(resident.parts(), resident.loaded.name)


@contextmanager
def _in_use(resident: _Resident) -> Iterator[None]:
    resident.uses += 1
    try:
        yield
    finally:
        resident.uses -= 1


def _prepare(parts: Mapping[str, nn.Module], file: Path, max_file_bytes: int) -> _Prepared:
    """Check everything that can be known from the header."""
    size = file.stat().st_size
    if size > max_file_bytes:
        raise LoraMismatch(f"{file.name} has {_gib(size)}; the limit is {_gib(max_file_bytes)}")
    try:
        header = headers.read(file)
    except ValueError as error:
        raise LoraMismatch(str(error)) from error
    linears = {component: dict(_linears(module)) for component, module in parts.items()}
    sizes = {
        component: {
            path: (linear.out_features, linear.in_features) for path, linear in found.items()
        }
        for component, found in linears.items()
    }
    found = match(header.shapes, sizes, file=file.name, metadata=header.metadata)
    nbytes = 0
    for pair in found.pairs:
        linear = linears[pair.component][pair.path]
        elements = pair.rank * (linear.in_features + linear.out_features)
        nbytes += elements * _dtype(linear).itemsize
    return _Prepared(file=file, match=found, metadata=header.metadata, nbytes=nbytes)


def _attach(parts: Mapping[str, nn.Module], prepared: _Prepared, name: str) -> Loaded:
    """Put a checked file on its layers, all or none."""
    pairs, left_out = prepared.match.pairs, prepared.match.left_out
    if left_out:
        logger.warning(
            "%s: %d tensors for the text connectors are not used: %s",
            prepared.file.name, len(left_out), some(list(left_out)),
        )  # fmt: skip
    try:
        # Plain tensors also where a sampler loads them: later uses need not be in inference mode.
        with torch.inference_mode(mode=False), safe_open(prepared.file, framework="pt") as content:
            for pair in pairs:
                _attach_pair(parts[pair.component], pair, name, content)
    except BaseException:
        unload(parts, name)
        raise
    return Loaded(
        name=name,
        rank=max(pair.rank for pair in pairs),
        layers=len(pairs),
        nbytes=prepared.nbytes,
        metadata=prepared.metadata,
        left_out=left_out,
    )


def _attach_pair(module: nn.Module, pair: Pair, name: str, content: Any) -> None:  # noqa: ANN401 - safe_open has no type
    """Wrap the layer if it is not wrapped yet, and give it the pair's weights, switched off."""
    layer = module.get_submodule(pair.path)
    with torch.device("meta"):  # the weights come from the file; no memory for others
        if isinstance(layer, LoraLayer):
            layer.update_layer(name, pair.rank, pair.rank, _CONFIG)
        else:
            base = layer
            layer = LoraLinear(base, name, _CONFIG, r=pair.rank, lora_alpha=pair.rank)
            layer.train(base.training)
            _activate(layer, [])
            _put(module, pair.path, layer)
    if pair.alpha is not None:
        layer.lora_alpha[name] = content.get_tensor(pair.alpha).item()
        layer.set_scale(name, 1.0)
    linear = layer.get_base_layer()
    for holder, tensor in ((layer.lora_A, pair.down), (layer.lora_B, pair.up)):
        # A copy, so that no weight is a view of the mapped file.
        weight = content.get_tensor(tensor).to(linear.weight.device, _dtype(linear), copy=True)
        holder[name].weight = nn.Parameter(weight, requires_grad=False)


def _activate(layer: LoraLayer, names: list[str]) -> None:
    layer.set_adapter(names, inference_mode=True)


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)


def _parts(modules: Modules) -> dict[str, nn.Module]:
    return {"transformer": modules} if isinstance(modules, nn.Module) else dict(modules)


def _identity(parts: Mapping[str, nn.Module]) -> tuple[int, ...]:
    return tuple(id(module) for module in parts.values())


def _names(parts: Mapping[str, nn.Module]) -> set[str]:
    """Adapters on any layer."""
    layers = [layer for module in parts.values() for _, layer in _lora_layers(module)]
    return {name for layer in layers for name in layer.scaling}


def _lora_layers(module: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    for path, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            yield path, layer


def _linears(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Linear layers by the path they have, or had before they were wrapped."""
    wrapped: list[str] = []
    for path, layer in module.named_modules():
        if isinstance(layer, BaseTunerLayer):
            wrapped.append(path + ".")
            base = layer.get_base_layer()
            if isinstance(base, nn.Linear):
                yield path, base
        elif isinstance(layer, nn.Linear) and not path.startswith(tuple(wrapped)):
            yield path, layer


def _dtype(linear: nn.Module) -> torch.dtype:
    """The type of a layer's factors: its own, or bfloat16 where that one is for storage only."""
    stored = linear.weight.dtype
    return stored if stored in _PLAIN else torch.bfloat16


def _stamp(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
