"""Many files, each made by one of several processes of one thread."""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

Maker = Callable[..., Path]


def spread(
    prepare: Callable[[Path], Maker],
    folder: Path,
    places: Iterable[tuple[Any, ...]],
    processes: int,
) -> None:
    """Call the maker that `prepare(folder)` gives, once in each process, for every place.

    A single process is this one, with its default device.
    """
    if processes == 1:
        make = prepare(folder)
        for place in places:
            _tell(make(*place))
        return
    begin = (prepare, folder)
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, begin) as pool:
        for path in pool.map(_make, places):
            _tell(path)


def _tell(path: Path) -> None:
    sys.stdout.write(f"{path.name}\n")
    sys.stdout.flush()


_maker: list[Maker] = []


def _begin(prepare: Callable[[Path], Maker], folder: Path) -> None:
    torch.set_num_threads(1)
    _maker.append(prepare(folder))


def _make(place: tuple[Any, ...]) -> Path:
    return _maker[0](*place)
