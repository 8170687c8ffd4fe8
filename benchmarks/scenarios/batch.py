"""Many clips: how many a minute this machine makes, with all its cores or GPUs and with one engine.

Stock diffusers stands beside it as its documentation runs it, in one process that has all cores; on
a CPU in one of its own, since what an engine does with freed memory is done for its whole process,
and also in one for each core, so that the gain of processes is told from that of what they do.
Where engines fill several GPUs it comes after them, on the first.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.baselines import stock
from benchmarks.baselines.stock import Stock
from benchmarks.bench import PROMPT, Bench, Unmeasurable
from benchmarks.card import ROOT
from benchmarks.engines import Order, Seat, running, seats
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, timed, wait
from benchmarks.turns import Samples
from ltx2.delivery.file import ToFile
from ltx2.progress import Progress
from ltx2.session import execute

CLIPS = 4
ONE = "one engine"
ONE_A_CORE = "one a core"
Make = Callable[[Sequence[Order]], None]  # so many clips; it returns when the last is a file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each, in each run")
    parser.add_argument("--engines", type=int, help="side by side at most; default all that fit")
    parser.add_argument("--mode", choices=("fast", "pro"), default="fast")
    parser.add_argument("--against", default="b0", help="b0, b1 or none")


def measure(bench: Bench) -> Findings:
    """Clips a minute: engines side by side, one engine, a baseline; then the command, loading
    counted.
    """
    found = bench.found
    _take_turns(bench)
    if bench.turns.over:
        found.notes.append("the command was not run: the time was up")
    elif not bench.random:
        bench.engine.let_go(parts=True)  # the command has the device to itself
        _row(found, bench, "ltx2 batch, loading counted", [_command(bench)])
    return found


def _take_turns(bench: Bench) -> None:
    """Everything warm. Engines that fill every GPU have ended before the baseline begins."""
    found = bench.found
    with ExitStack() as opened:
        ours = _ours(bench, opened)
        several = len(ours) > 1
        alone = not bench.random and (several or bench.device.type == "cpu")
        baseline = _baseline(bench, opened, alone=alone)
        first, *others = [*ours, *baseline]

        def show(samples: Samples) -> None:
            for name, runs in samples.items():
                _row(found, bench, name, runs)
            for name in others:
                found.compare(first, name)
            if several:  # on several GPUs both of these have one of them
                found.compare(ONE, bench.arguments.against)

        if several and bench.device.type == "cuda":
            bench.turns.take(ours, show)
            opened.close()
            bench.turns.take(baseline, show, needed=())
        else:
            bench.turns.take({**ours, **baseline}, show, needed=ours)


def _ours(bench: Bench, opened: ExitStack) -> dict[str, Measured]:
    """Engines side by side and one of them, where there are several; else one in this process."""
    given = bench.arguments
    if bench.random:
        bench.found.notes.append(
            "engines of their own and the command were not run: they read files"
        )
    elif len(places := seats(bench.device, given.weights, given.mode)[: given.engines]) > 1:
        engines = opened.enter_context(running(places))
        return {
            f"{len(places)} engines": _clips(bench, engines.make, elsewhere=True),
            ONE: _clips(bench, engines.first().make, elsewhere=True),
        }
    return {ONE: _clips(bench, lambda orders: _one_engine(bench, orders))}


def _row(found: Findings, bench: Bench, name: str, runs: Sequence[Sample]) -> None:
    clips = bench.arguments.clips
    row = found.put(name, runs, clips=clips)
    row["clips_per_minute"] = 60 * clips / row["seconds"]["median"]


def _clips(bench: Bench, make: Make, *, elsewhere: bool = False) -> Measured:
    """The time of so many clips of words that were not encoded before.

    What is made `elsewhere`, in processes of its own, has its memory there: this one's peak would
    say nothing of it.
    """
    turn = 0

    def measured() -> Sample:
        nonlocal turn
        turn += 1
        orders = [
            Order(f"{PROMPT} {turn} {number}", number, bench.arguments.mode)
            for number in range(bench.arguments.clips)
        ]
        sample = timed(bench.device, lambda: make(orders))
        return Sample(seconds=sample.seconds) if elsewhere else sample

    return measured


def _one_engine(bench: Bench, orders: Sequence[Order]) -> None:
    target = ToFile(bench.scratch / "one.mp4")
    for order in orders:
        prepared = bench.prepared(mode=order.mode, prompt=order.prompt, seed=order.seed)
        execute(prepared, engine=bench.engine, deliver=target, progress=Progress(None))


def _runs(bench: Bench, name: str, found: Findings) -> bool:
    if name not in ("b0", "b1"):
        raise Unmeasurable(f"{name!r} is no baseline of this scenario; there is b0 and b1")
    prepared = bench.prepared(mode=bench.arguments.mode)
    if reason := stock.missing(stock.KINDS[name], bench.engine, prepared):
        found.notes.append(f"{name} did not run: {reason}")
    return not reason


def _baseline(bench: Bench, opened: ExitStack, *, alone: bool) -> dict[str, Measured]:
    """So many clips of one request: it encodes its prompt anew for each pass by itself.

    `alone` in processes of its own: one that has all cores, as the documentation runs it, and on a
    CPU also one for each core, as engines are. Else on the parts of this one's engine. They load in
    their first run, within the turns: what fails there costs ours nothing.
    """
    name = bench.arguments.against
    if name == "none" or not _runs(bench, name, bench.found):
        return {}
    if not alone:
        return {name: _loaded_late(bench, opened, _here(bench, name), elsewhere=False)}
    load, cores = partial(_load_stock, name, bench.arguments), os.cpu_count() or 1
    places = {name: [Seat(load, cores)]}
    if bench.device.type == "cpu" and cores > 1:
        places[f"{name}, {ONE_A_CORE}"] = [Seat(load, 1)] * cores
    return {
        each: _loaded_late(bench, opened, _elsewhere(seats), elsewhere=True)
        for each, seats in places.items()
    }


def _loaded_late(
    bench: Bench, opened: ExitStack, way: AbstractContextManager[Make], *, elsewhere: bool
) -> Measured:
    """Clips by a way that is entered when they are first made."""
    make: Make | None = None

    def made(orders: Sequence[Order]) -> None:
        nonlocal make
        make = make or opened.enter_context(way)
        make(orders)

    return _clips(bench, made, elsewhere=elsewhere)


@contextmanager
def _elsewhere(places: Sequence[Seat]) -> Iterator[Make]:
    """A baseline in processes of its own; on a GPU it has the first one."""
    with running(places) as processes:
        yield processes.make


@contextmanager
def _here(bench: Bench, name: str) -> Iterator[Make]:
    """A baseline on the parts of this process's engine."""
    with closing(_stock(bench, name, bench.scratch / f"{name}.mp4")) as baseline:

        def make(orders: Sequence[Order]) -> None:
            for _ in orders:
                baseline.make()

        yield make


def _load_stock(
    name: str, arguments: argparse.Namespace, target: Path
) -> Callable[[Order], object]:
    bench = Bench(arguments=arguments, scratch=target.parent)
    bench.settings = stock.as_shipped(bench.settings)
    prepared = bench.prepared(mode=arguments.mode)
    if reason := stock.missing(stock.KINDS[name], bench.engine, prepared):
        raise RuntimeError(reason)
    baseline = _stock(bench, name, target)
    return lambda _: baseline.make()


def _stock(bench: Bench, name: str, target: Path) -> Stock:
    return Stock(stock.KINDS[name], bench.engine, bench.prepared(mode=bench.arguments.mode), target)


def _command(bench: Bench) -> Sample:
    """The same clips by the command, in a process of its own."""
    given = bench.arguments
    requests = bench.scratch / "requests.jsonl"
    lines: list[dict[str, Any]] = [
        {"prompt": f"{PROMPT} {number}", "seed": number, "mode": given.mode}
        for number in range(given.clips)
    ]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "ltx2", "batch", str(requests), "--out",
               str(bench.scratch / "out"), "--checkpoint", given.weights,
               "--device", str(bench.device)]  # fmt: skip
    wait(bench.device)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"ltx2 batch failed: {done.stderr[-2000:]}")
    return Sample(seconds=seconds)
