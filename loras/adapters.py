"""LoRA files as PEFT layers on a module: loaded once, switched by strength, never left behind.

PEFT's own layers are put in place directly. Its injection by configuration would switch on the new
adapter everywhere, freeze the base weights and match ranks by regular expressions; here every layer
gets exactly its rank and alpha, and nothing else changes. Kinds beside plain LoRA are variants of
the same layers (loras/factors.py), so that any of them act together.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from weakref import ref

from peft.tuners.lora import LoraLayer
from torch import nn

from loras.attach import (
    Loaded,
    Prepared,
    activate,
    amount,
    attach,
    detach,
    header_of,
    lora_layers,
    prepare,
)
from loras.headers import metadata
from loras.keys import LoraMismatch, for_connectors

__all__ = [
    "AdapterStore",
    "Loaded",
    "LoraMismatch",
    "acts_on_text",
    "applied",
    "load",
    "metadata",
    "stamp",
    "unload",
]

logger = logging.getLogger(__name__)

Modules = nn.Module | Mapping[str, nn.Module]  # a bare module is the transformer

# Room for the largest published files (distilled: 7.1 GB at rank 384, more at 450) and some others.
MAX_BYTES = 16 * 2**30


def load(modules: Modules, file: Path, name: str, *, max_file_bytes: int = MAX_BYTES) -> Loaded:
    """Put a LoRA file on the modules as the inactive adapter `name`.

    Weights go to the device and type of the layer they belong to. Names and shapes are checked in
    the file's header first; whatever fails, the modules are as before. Raises LoraMismatch for a
    file that is not wholly an adapter of these modules, is larger than `max_file_bytes` or is no
    safetensors file, and ValueError for a name that is taken or has a dot.
    """
    parts = _parts(modules)
    if not name or "." in name or name in _names(parts):
        raise ValueError(f"adapter name {name!r} is taken, empty or has a dot")
    return attach(parts, prepare(parts, file, max_file_bytes, ()), name)


def unload(modules: Modules, name: str) -> None:
    """Take an adapter off; layers that no other adapter needs become what they were before."""
    detach(_parts(modules), name)


def acts_on_text(file: Path) -> bool:
    """Whether a file has tensors for the text connectors. Raises LoraMismatch as `load`."""
    return _acts_on_text(file, stamp(file))


@lru_cache(maxsize=256)
def _acts_on_text(file: Path, _stamp: str) -> bool:
    return bool(for_connectors(header_of(file).tensors))


@contextmanager
def applied(modules: Modules, adapters: Sequence[tuple[str, float]]) -> Iterator[None]:
    """Exactly these adapters act inside the block: W + the sum of strength * change.

    A LoRA's change is alpha / rank * B @ A; for the others see loras/factors.py. Strengths of an
    adapter that is named twice add up; 0 switches it off. Afterwards, also after an error, adapters
    and strengths are as before. Raises LookupError for a name that is not loaded, RuntimeError
    where adapters have been fused into the weights.
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
    layers = [layer for module in parts.values() for _, layer in lora_layers(module)]
    if any(layer.merged for layer in layers):
        raise RuntimeError("adapters are fused into the weights; unfuse them first")
    before = [_State(layer) for layer in layers]
    try:
        for layer in layers:
            names = [name for name, value in strengths.items() if value and name in layer.scaling]
            if layer.disable_adapters:
                layer.enable_adapters(True)
            activate(layer, names)
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
        there = self._layer.scaling  # without those that were taken off meanwhile
        activate(self._layer, [name for name in self._active if name in there])
        there.update({name: scale for name, scale in self._scaling.items() if name in there})


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
    def applied(
        self,
        modules: Modules,
        files: Sequence[tuple[Path, float]],
        *,
        elsewhere: Collection[str] = (),
    ) -> Iterator[None]:
        """Exactly these files act inside the block, each at its strength; see `applied`.

        What a file has for a component of `elsewhere` ("transformer", "connectors") is left to the
        time when that component is among the modules.
        """
        parts = _parts(modules)
        with ExitStack() as stack:
            adapters = []
            for file, strength in files:
                resident = self._ensure(parts, file, elsewhere)
                stack.enter_context(_in_use(resident))
                if resident.loaded.layers:
                    adapters.append((resident.loaded.name, strength))
            stack.enter_context(applied(parts, adapters))
            yield

    def loaded(self, modules: Modules) -> list[Loaded]:
        """What lies on the modules, least recently used first."""
        key = _identity(_parts(modules))
        return [resident.loaded for (ids, _), resident in self._residents.items() if ids == key]

    def limit(self, max_bytes: int) -> None:
        """Another bound from now on; idle files go, the least recently used first, until it is met.

        Files that are applied stay.
        """
        self._max_bytes = max_bytes
        self._evict(max_bytes)

    def clear(self) -> None:
        """Take every file off its modules that is not applied; each loads again when it is used."""
        for key in [key for key, resident in self._residents.items() if not resident.uses]:
            resident = self._residents.pop(key)
            detach(resident.parts(), resident.loaded.name)

    def forget(self, module: nn.Module) -> None:
        """Drop the records of a module that is going away with its adapters."""
        for key in [key for key in self._residents if id(module) in key[0]]:
            resident = self._residents.pop(key)
            others = {n: part for n, part in resident.parts().items() if part is not module}
            detach(others, resident.loaded.name)

    def _ensure(
        self, parts: dict[str, nn.Module], file: Path, elsewhere: Collection[str]
    ) -> _Resident:
        """A file's adapter on the modules, loaded if it is not there yet, not active."""
        self._forget_the_dead()
        key = (_identity(parts), stamp(file))
        if key in self._residents:
            self._residents.move_to_end(key)
            return self._residents[key]
        name = f"lora_{next(self._numbers)}"
        try:
            prepared = self._prepared(parts, file, elsewhere)
            self._make_room(prepared)
            loaded = self._attached(parts, prepared, name)
        except LoraMismatch as error:
            error.file = file
            raise
        references = tuple((component, ref(module)) for component, module in parts.items())
        resident = _Resident(loaded, references)
        self._residents[key] = resident
        return resident

    def _prepared(
        self, parts: Mapping[str, nn.Module], file: Path, elsewhere: Collection[str]
    ) -> Prepared:
        return prepare(parts, file, self._max_file_bytes, elsewhere)

    def _attached(self, parts: Mapping[str, nn.Module], prepared: Prepared, name: str) -> Loaded:
        return attach(parts, prepared, name)

    def _make_room(self, prepared: Prepared) -> None:
        """Evict until the file fits; before it is read, so that the peak is bounded, too."""
        used = sum(resident.loaded.nbytes for resident in self._residents.values() if resident.uses)
        if used + prepared.nbytes > self._max_bytes:
            raise LoraMismatch(
                f"{prepared.file.name} takes {amount(prepared.nbytes)} beside {amount(used)} in "
                f"use; all adapters together may take {amount(self._max_bytes)}"
            )
        self._evict(self._max_bytes - prepared.nbytes)

    def _evict(self, target: int) -> None:
        """Let go of idle files until all take at most `target` bytes, or none is idle."""
        idle = [key for key, resident in self._residents.items() if not resident.uses]
        total = sum(resident.loaded.nbytes for resident in self._residents.values())
        while total > target and idle:
            resident = self._residents.pop(idle.pop(0))
            detach(resident.parts(), resident.loaded.name)
            total -= resident.loaded.nbytes
            logger.info("unloaded %s to make room", resident.loaded.name)

    def _forget_the_dead(self) -> None:
        """Records whose modules are gone: an id may come back with another module behind it."""
        for key in [key for key, r in self._residents.items() if len(r.parts()) < len(r.modules)]:
            resident = self._residents.pop(key)
            detach(resident.parts(), resident.loaded.name)


@contextmanager
def _in_use(resident: _Resident) -> Iterator[None]:
    resident.uses += 1
    try:
        yield
    finally:
        resident.uses -= 1


def _parts(modules: Modules) -> dict[str, nn.Module]:
    return {"transformer": modules} if isinstance(modules, nn.Module) else dict(modules)


def _identity(parts: Mapping[str, nn.Module]) -> tuple[int, ...]:
    return tuple(id(module) for module in parts.values())


def _names(parts: Mapping[str, nn.Module]) -> set[str]:
    """Adapters on any layer."""
    layers = [layer for module in parts.values() for _, layer in lora_layers(module)]
    return {name for layer in layers for name in layer.scaling}


def stamp(file: Path) -> str:
    """Names a file's content as far as its place, size and time tell."""
    stat = file.stat()
    return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
