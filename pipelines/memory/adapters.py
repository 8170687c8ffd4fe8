"""Adapters on outlines: a few of their layers are put in place, the weights of all are counted."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from loras.adapters import AdapterStore
from loras.attach import Loaded, Prepared, attach, header_of, lora_layers
from loras.keys import match
from pipelines.memory.hollow import Hollow

Linears = Callable[[nn.Module], Mapping[str, tuple[int, int]]]
_NO_LIMIT = 2**63


class HollowAdapters(AdapterStore):
    """As its base, on modules without weights of which only the first blocks are left.

    `linears` gives all the linear layers that a module had: (out, in) features by path. `dtype` is
    that of an adapter's weights.
    """

    def __init__(self, linears: Linears, dtype: torch.dtype) -> None:
        super().__init__(max_bytes=_NO_LIMIT, max_file_bytes=_NO_LIMIT)
        self._linears = linears
        self._dtype = dtype

    def _prepared(
        self, parts: Mapping[str, nn.Module], file: Path, elsewhere: Collection[str]
    ) -> Prepared:
        header = header_of(file)
        sizes = {component: dict(self._linears(module)) for component, module in parts.items()}
        found = match(header, sizes, file=file.name, elsewhere=elsewhere)
        nbytes = sum(
            update.elements * self._dtype.itemsize + update.magnitudes * torch.float32.itemsize
            for update in found.updates
        )
        return Prepared(file=file, match=found, metadata=header.metadata, nbytes=nbytes)

    def _attached(self, parts: Mapping[str, nn.Module], prepared: Prepared, name: str) -> Loaded:
        here = {
            component: {path for path, _ in module.named_modules()}
            for component, module in parts.items()
        }
        # A wrapped layer is still found by the path it had.
        kept = tuple(u for u in prepared.match.updates if u.path in here[u.component])
        left = replace(prepared, match=replace(prepared.match, updates=kept))
        with _disable_current_modes(), Hollow():  # questions to its factors have no answer either
            return attach(parts, left, name)

    def bytes_on(self, component: str, module: nn.Module) -> int:
        """What the adapters that lie on a module take in all."""
        return sum(loaded.nbytes for loaded in self.loaded({component: module}))


def acting(module: nn.Module) -> frozenset[tuple[str, ...]]:
    """Which adapters act on a module's layers: what a call of it depends on."""
    return frozenset(tuple(layer.active_adapters) for _, layer in lora_layers(module))
