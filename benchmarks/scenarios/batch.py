"""Many clips: how many a minute this machine makes, with all its cores or GPUs and with one engine.

Stock diffusers stands beside it as its documentation runs it: in one process that has all cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from benchmarks.baselines import stock
from benchmarks.baselines.stock import Stock
from benchmarks.bench import PROMPT, Bench
from benchmarks.card import ROOT
from benchmarks.engines import Order, running, seats
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, in_turns, timed, wait
from ltx2.delivery.file import ToFile
from ltx2.progress import Progress
from ltx2.session import execute

CLIPS = 4
ONE = "one engine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each, in each run")
    parser.add_argument("--mode", choices=("fast", "pro"), default="fast")
    parser.add_argument("--against", default="b0", help="b0, b1 or none")


def measure(bench: Bench) -> Findings:
    """Clips a minute: engines side by side, one engine, a baseline; then the command, loading
    counted.
    """
    found = Findings()
    given = bench.arguments
    places = seats(bench.device)
    works: dict[str, Measured] = {}
    with ExitStack() as open_things:
        if bench.random:
            found.notes.append("engines of their own and the command were not run: they read files")
        elif len(places) > 1:
            engines = open_things.enter_context(running(given.weights, given.mode, places))
            works[f"{len(places)} engines"] = _clips(bench, engines.make)
        works[ONE] = _clips(bench, lambda orders: _one_engine(bench, orders))
        if given.against != "none":
            baseline = _baseline(bench, given.against, found)
            if baseline is not None:
                open_things.callback(baseline.close)
                works[given.against] = _clips(bench, lambda orders: _stock(baseline, orders))
        samples = in_turns(works, given.runs, bench.tell)
    for name, runs in samples.items():
        _row(found, bench, name, runs)
    first = next(iter(samples))
    for name in samples:
        if name != first:
            found.compare(first, name)
    if not bench.random:
        _row(found, bench, "ltx2 batch, loading counted", [_command(bench)])
    return found


def _row(found: Findings, bench: Bench, name: str, runs: Sequence[Sample]) -> None:
    clips = bench.arguments.clips
    row = found.add(name, runs, clips=clips)
    row["clips_per_minute"] = 60 * clips / row["seconds"]["median"]


def _clips(bench: Bench, make: Callable[[Sequence[Order]], None]) -> Measured:
    """The time of so many clips of words that were not encoded before."""
    turn = 0

    def measured() -> Sample:
        nonlocal turn
        turn += 1
        orders = [
            Order(f"{PROMPT} {turn} {number}", number, bench.arguments.mode)
            for number in range(bench.arguments.clips)
        ]
        return timed(bench.device, lambda: make(orders))

    return measured


def _one_engine(bench: Bench, orders: Sequence[Order]) -> None:
    target = ToFile(bench.scratch / "one.mp4")
    for order in orders:
        prepared = bench.prepared(mode=order.mode, prompt=order.prompt, seed=order.seed)
        execute(prepared, engine=bench.engine, deliver=target, progress=Progress(None))


def _stock(baseline: Stock, orders: Sequence[Order]) -> None:
    """So many clips of one request: it encodes its prompt anew for each pass by itself."""
    with all_cores():
        for _ in orders:
            baseline.make()


def _baseline(bench: Bench, name: str, found: Findings) -> Stock | None:
    if name not in ("b0", "b1"):
        raise ValueError(f"{name!r} is no baseline of this scenario; there is b0 and b1")
    prepared = bench.prepared(mode=bench.arguments.mode)
    if reason := stock.missing(stock.KINDS[name], bench.engine, prepared):
        found.notes.append(f"{name} did not run: {reason}")
        return None
    return Stock(stock.KINDS[name], bench.engine, prepared, bench.scratch / f"{name}.mp4")


@contextmanager
def all_cores() -> Iterator[None]:
    """As many threads as torch takes by itself, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
