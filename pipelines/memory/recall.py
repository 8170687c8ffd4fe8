"""A module's call without data is made once per kind of input, and recalled after that."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from pipelines.memory.ledger import Ledger, tensors

Forward = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A tensor of the output, in the n-th piece of memory that the call left behind."""

    memory: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a call held at most beside what was there before it, and what it gave."""

    peaks: dict[str, int]
    leaves: tuple[Any, ...]
    spec: TreeSpec
    memories: tuple[int, ...]  # bytes of each piece


def recalled(forward: Forward, state: Callable[[], object] = lambda: None) -> Forward:
    """`forward`, run once for each kind of input under a ledger, and recalled from then on.

    Inputs are of one kind where shapes, types and all other arguments agree, and so does `state`.
    """
    known: dict[object, _Seen] = {}

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the module's own
        ledger = _get_current_dispatch_mode()
        if not isinstance(ledger, Ledger):
            return forward(*args, **kwargs)
        leaves, spec = tree_flatten((args, kwargs))
        key = (state(), spec, tuple(_kind(leaf) for leaf in leaves))
        if key in known:
            return _again(ledger, known[key])
        with ledger.watching() as peaks:
            output = forward(*args, **kwargs)
        given = {tensor.untyped_storage()._cdata for tensor in tensors((args, kwargs))}
        made = {tensor.untyped_storage()._cdata for tensor in tensors(output)}
        if not given & made:  # what shares memory with its input cannot be made anew
            known[key] = _seen(output, dict(peaks))
        return output

    return call


def _kind(leaf: Any) -> object:  # noqa: ANN401 - whatever a module takes
    if isinstance(leaf, Tensor):
        return (tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device)
    return repr(leaf)


def _seen(output: Any, peaks: dict[str, int]) -> _Seen:  # noqa: ANN401
    leaves, spec = tree_flatten(output)
    memories: dict[int, int] = {}  # address -> bytes
    order: dict[int, int] = {}
    shapes: list[Any] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            shapes.append(leaf)
            continue
        storage = leaf.untyped_storage()
        memories[storage._cdata] = storage.nbytes()
        number = order.setdefault(storage._cdata, len(order))
        shapes.append(
            _Shape(
                number,
                tuple(leaf.shape),
                leaf.stride(),
                int(leaf.storage_offset()),
                leaf.dtype,
                leaf.device,
            )
        )
    return _Seen(peaks, tuple(shapes), spec, tuple(memories.values()))


def _again(ledger: Ledger, seen: _Seen) -> Any:  # noqa: ANN401
    for kind, nbytes in seen.peaks.items():
        ledger.touch(kind, nbytes)
    made: dict[int, Tensor] = {}
    leaves: list[Any] = []
    for leaf in seen.leaves:
        if not isinstance(leaf, _Shape):
            leaves.append(leaf)
            continue
        if leaf.memory not in made:
            count = seen.memories[leaf.memory] // leaf.dtype.itemsize
            made[leaf.memory] = torch.empty(count, dtype=leaf.dtype, device=leaf.device)
        flat = made[leaf.memory].view(leaf.dtype)
        leaves.append(flat.as_strided(leaf.shape, leaf.stride, leaf.offset))
    return tree_unflatten(leaves, seen.spec)
