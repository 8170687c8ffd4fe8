"""From the device to the host through page-locked memory of a bounded size."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

PIECE = 64 * 2**20  # bytes of each of the two buffers
_ONE_AT_A_TIME = Lock()  # engines in threads share them


class Mark(Protocol):
    """A place in a device's work that can be waited for, as `torch.cuda.Event`."""

    def record(self) -> object:
        """Put it behind what was asked for so far."""
        ...

    def synchronize(self) -> object:
        """Wait until the device has come there."""
        ...


def to_host(*tensors: Tensor) -> list[Tensor]:
    """The same in host memory; from CUDA in pieces, one copied on while the next arrives.

    Elsewhere the first alone, which is the large one: the others cost no wait there.
    """
    if tensors[0].device.type != "cuda":
        return [tensors[0].cpu(), *tensors[1:]]
    with _ONE_AT_A_TIME, torch.cuda.device(tensors[0].device):
        return in_pieces(tensors, page_locked(), torch.cuda.Event)


@cache
def page_locked() -> tuple[Tensor, Tensor]:
    """The two buffers, for the whole process: to lock pages takes longer than to copy them."""
    with torch.inference_mode(mode=False):  # or they could be written nowhere else
        first, second = (torch.empty(PIECE, dtype=torch.uint8, pin_memory=True) for _ in range(2))
    return first, second


def in_pieces(
    tensors: Sequence[Tensor], buffers: tuple[Tensor, Tensor], mark: Callable[[], Mark]
) -> list[Tensor]:
    """Copies of the tensors in host memory, by way of the buffers in turns.

    `buffers` are bytes (n,) of one size. `mark` gives what is recorded behind the copy into one.
    """
    given = [tensor.contiguous() for tensor in tensors]
    found = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in given]
    arriving: list[tuple[Mark, Tensor, Tensor]] = []  # the marks, the buffers, the places they go

    def settle() -> None:
        there, buffer, place = arriving.pop(0)
        there.synchronize()
        place.copy_(buffer)

    pairs = zip(map(as_bytes, given), map(as_bytes, found), strict=True)
    for number, (source, place) in enumerate(_pieces(pairs, len(buffers[0]))):
        if len(arriving) == len(buffers):
            settle()
        buffer = buffers[number % len(buffers)][: len(source)]
        buffer.copy_(source, non_blocking=True)
        there = mark()
        there.record()
        arriving.append((there, buffer, place))
    while arriving:
        settle()
    return found


def as_bytes(tensor: Tensor) -> Tensor:
    """The memory of a contiguous tensor as bytes (n,)."""
    return tensor.reshape(-1).view(torch.uint8)


def _pieces(pairs: "zip[tuple[Tensor, Tensor]]", size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for source, place in pairs:
        yield from zip(source.split(size), place.split(size), strict=True)
