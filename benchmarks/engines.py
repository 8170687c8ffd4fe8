"""Engines that make clips side by side, each in a process of its own: how a machine is filled."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch

Mode = Literal["fast", "pro"]


@dataclass(frozen=True, slots=True)
class Order:
    """A clip: the words and the seed of one's own."""

    prompt: str
    seed: int
    mode: Mode


# Loads, in the process where it is called, what makes clips into the file.
Load = Callable[[Path], Callable[[Order], object]]


@dataclass(frozen=True, slots=True)
class Seat:
    """A process: what it loads, and its share of the cores."""

    load: Load
    threads: int


def seats(device: torch.device, weights: str, mode: Mode) -> Sequence[Seat]:
    """An engine for every GPU; without one, an engine for every core."""
    cores = os.cpu_count() or 1
    if device.type == "cuda":
        count = torch.cuda.device_count()
        return [
            Seat(partial(_engine, weights, mode, f"cuda:{number}"), max(1, cores // count))
            for number in range(count)
        ]
    return [Seat(partial(_engine, weights, mode, device.type), 1)] * cores


class Engines:
    """Warm engines on the same weights."""

    def __init__(self, lines: Sequence[Connection]) -> None:
        self._lines = lines

    def first(self) -> "Engines":
        """The first of them alone."""
        return Engines(self._lines[:1])

    def make(self, orders: Sequence[Order]) -> None:
        """All of these, each by the next engine in turn; returns when the last is a file.

        Raises RuntimeError where one fails.
        """
        count = len(self._lines)
        for number, line in enumerate(self._lines):
            line.send(orders[number::count])
        for line in self._lines:
            if said := line.recv():
                raise RuntimeError(f"an engine failed: {said}")


@contextmanager
def running(places: Sequence[Seat]) -> Iterator[Engines]:
    """Engines in processes of their own, loaded; they end with the block."""
    context = get_context("spawn")
    pairs = [context.Pipe() for _ in places]
    processes = [
        context.Process(target=_serve, args=(theirs, place))
        for (_, theirs), place in zip(pairs, places, strict=True)
    ]
    try:
        for process, (_, theirs) in zip(processes, pairs, strict=True):
            process.start()
            theirs.close()
        for ours, _ in pairs:
            if said := ours.recv():
                raise RuntimeError(f"an engine did not start: {said}")
        yield Engines([ours for ours, _ in pairs])
    finally:
        for ours, _ in pairs:
            with suppress(OSError):
                ours.send(None)
        for process in processes:
            process.join(30)
            if process.is_alive():
                process.kill()
                process.join()


def _serve(line: Connection, place: Seat) -> None:
    """One engine's process: says that it is ready, then makes what it is sent until None comes.

    It answers with what went wrong, or with nothing.
    """
    torch.set_num_threads(place.threads)
    with tempfile.TemporaryDirectory() as folder:
        try:
            make = place.load(Path(folder) / "clip.mp4")
        except Exception as error:
            line.send(repr(error))
            raise
        line.send("")
        while (orders := line.recv()) is not None:
            try:
                for order in orders:
                    make(order)
            except Exception as error:
                line.send(repr(error))
                raise
            line.send("")


def _engine(weights: str, mode: Mode, device: str, target: Path) -> Callable[[Order], object]:
    import ltx2
    from ltx2.delivery.file import ToFile
    from ltx2.session import generate
    from ltx2.settings import Settings

    engine = ltx2.Engine.load(weights, mode=mode, device=device, settings=Settings.from_env())
    engine.own_process()
    engine.preload((mode,))

    def make(order: Order) -> None:
        request = ltx2.Request.parse(
            {"prompt": order.prompt, "seed": order.seed, "mode": order.mode}
        )
        generate(request, engine=engine, deliver=ToFile(target))

    return make
