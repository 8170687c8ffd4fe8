"""Bytes of tensors that are alive, counted while operations run."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten: Any = torch.ops.aten
ALL = "all"


class Ledger(TorchDispatchMode):
    """Counts the memory of what operations make inside the block, until it is let go of.

    Of a tensor that was there before, such as a weight, nothing is counted. Inside of a kernel
    nothing is seen, so that scratch space of libraries is not in the count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[str, int] = {}  # by kind of device, and of all under ALL
        self._peaks: dict[str, int] = {}
        self._sizes: dict[int, tuple[str, int, Any]] = {}  # by address of the storage

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own signature
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if any(hasattr(kind, "__tensor_flatten__") for kind in types):
            return NotImplemented  # a rounded weight does it first, with operations seen here
        if (answer := self._instead(func, args, kwargs)) is not None:
            return answer
        with self:  # an operation that is made of others is seen as these
            result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            result = self._run(func, args, kwargs)
            given = {tensor.untyped_storage()._cdata for tensor in tensors((args, kwargs))}
            for tensor in tensors(result):
                storage = tensor.untyped_storage()
                if storage._cdata not in given:
                    self._count(storage, tensor.device.type)
        return result

    def _instead(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401, ARG002
        """What an operation gives without running; None to run it."""
        return None

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        return func(*args, **kwargs)

    def add(self, kind: str, nbytes: int) -> None:
        """Memory that no operation made; negative where it was let go of."""
        for name in (kind, ALL):
            self.live[name] = self.live.get(name, 0) + nbytes
            self._peaks[name] = max(self._peaks.get(name, 0), self.live[name])

    def touch(self, kind: str, nbytes: int) -> None:
        """Memory that was in use for a moment, on top of what is live; each kind by itself."""
        self._peaks[kind] = max(self._peaks.get(kind, 0), self.live.get(kind, 0) + nbytes)

    def peak(self, kind: str) -> int:
        """The most bytes that were alive at once since `begin`."""
        return self._peaks.get(kind, 0)

    def begin(self) -> None:
        """Forget the peaks; from now on they count anew."""
        self._peaks = dict(self.live)

    @contextmanager
    def watching(self) -> Iterator[dict[str, int]]:
        """Yields a table that tells afterwards what the block held on top of what was live."""
        outer, before = self._peaks, dict(self.live)
        self.begin()
        inside: dict[str, int] = {}
        try:
            yield inside
        finally:
            for kind, peak in self._peaks.items():
                inside[kind] = peak - before.get(kind, 0)
                outer[kind] = max(outer.get(kind, 0), peak)
            self._peaks = outer

    def _count(self, storage: torch.UntypedStorage, kind: str) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self._sizes:
            return
        # The reference is kept: without it, its callback would not be called.
        self._sizes[key] = (kind, nbytes, weakref.ref(storage, self._let_go(key)))
        self.add(kind, nbytes)

    def _let_go(self, key: int) -> Callable[[Any], None]:
        def callback(_reference: Any) -> None:  # noqa: ANN401
            kind, nbytes, _ = self._sizes.pop(key)
            self.add(kind, -nbytes)

        return callback


def tensors(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401 - any nest of containers
    """The tensors in it."""
    if isinstance(tree, Tensor):
        yield tree
    elif type(tree) in (tuple, list):  # what operations take and give, without the library's detour
        for branch in tree:
            yield from tensors(branch)
    elif type(tree) is dict:
        yield from tensors(tuple(tree.values()))
    elif not isinstance(tree, (int, float, str, torch.dtype, torch.device, NoneType)):
        yield from (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
