"""Rotary tables made once a pass.

They depend on the positions alone, which stay the same from the first forward pass to the last;
diffusers makes all four anew in each, in float64.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

ROPES = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")
Tables = tuple[Tensor, Tensor]


@contextmanager
def tables_kept(transformer: nn.Module) -> Iterator[None]:
    """Each rotary module gives the tables of its last positions again, inside the block.

    Positions must not be changed in place meanwhile.
    """
    with ExitStack() as stack:
        for name in ROPES:
            rope = getattr(transformer, name)
            stack.enter_context(replaced_forward(rope, _kept(rope.forward)))
        yield


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., object]) -> Iterator[None]:
    """Another forward of one module, for the length of the block."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _kept(make: Callable[..., Tables]) -> Callable[..., Tables]:
    last: list[tuple[Tensor, Tables]] = []
    return partial(_tables, make, last)


def _tables(
    make: Callable[..., Tables],
    last: list[tuple[Tensor, Tables]],
    coords: Tensor,
    device: object = None,
) -> Tables:
    if not last or not _same(last[0][0], coords):
        last[:] = [(coords, make(coords, device=device))]
    return last[0][1]


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one place in memory; the first is held, so it cannot be reused."""
    return (
        one.untyped_storage()._cdata == other.untyped_storage()._cdata
        and one.storage_offset() == other.storage_offset()
        and one.shape == other.shape
        and one.stride() == other.stride()
    )
