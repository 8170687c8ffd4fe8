"""A new process to its first clip, by phase; and how fast its weights came off the disk.

Each turn reads the files plainly first and then starts the process, both with what the page cache
held of them given back, unless it is asked to be warm. A file system that keeps them all the same
shows as a plain read that no disk could do.

A plain read is done by one reader and by as many as parts are loaded in; "plain read" is the faster
of a turn. Its bytes are those of whole files, and those of loading the tensors that are there after
it: a file may hold parts that a clip does without.
"""

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.bench import Bench
from benchmarks.card import ROOT
from benchmarks.results import Findings
from benchmarks.scenarios.newborn import tensor_bytes
from benchmarks.timing import Sample, timed

PIECE = 16 * 2**20  # bytes of one plain read
PAGE = mmap.PAGESIZE
SPAN = 256 * 2**20  # bytes that one reader reads on end
READERS = {"one reader": 1, "two readers": 2}  # the latter as parts are loaded
TRANSFORMER = "transformer:distilled"
PLAIN, RATIO = "plain read", "rate of loading / plain read"
PHASES = ("import", "find", "weights", "warm", "forecast", "first clip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--mode", choices=("fast", "pro"), default="fast")
    parser.add_argument(
        "--folder", type=Path, help="where drawn weights are written: on the disk in question"
    )
    parser.add_argument(
        "--blocks", type=int, help="of a drawn transformer, where all of them are too much"
    )
    parser.add_argument("--warm-cache", action="store_true", help="leave the page cache as it is")


def measure(bench: Bench) -> Findings:
    """Phases of the process, the plain read rate, and the ratio of both rates."""
    if bench.random:
        return _read_back(bench)
    given, found = bench.arguments, bench.found
    rates = Rates(found=found, files=weight_files(bench, given.mode), warm=given.warm_cache)
    starts: list[Sample] = []
    first = int(given.warm_cache)  # the first turn fills the cache
    for turn in range(given.runs + first):
        if turn > first and bench.turns.over:
            found.notes.append(f"{turn - first} of {given.runs} turns were run: the time was up")
            break
        read = rates.read()
        phases, told = started(bench)
        bench.tell(f"turn {turn + 1}: " + ", ".join(f"{n} {s:.2f} s" for n, s in phases.items()))
        if turn < first:
            continue
        starts.append(Sample(seconds=sum(phases.values()), stages=phases))
        rates.note(read, phases["weights"], told["bytes"])
        rates.show(found.put("process to first clip", starts))
        found.facts |= {"seconds_by_part": told["parts"]}
        bench.save()
    return found


@dataclass(kw_only=True)
class Rates:
    """Plain reads of files and what loading them took, turn by turn."""

    found: Findings
    files: Sequence[Path]
    warm: bool
    reads: list[dict[str, Sample]] = field(default_factory=list)  # by how many read
    loads: list[float] = field(default_factory=list)  # seconds
    loaded: int = 0  # bytes

    @property
    def total(self) -> int:
        """Bytes of the files."""
        return sum(file.stat().st_size for file in self.files)

    def read(self) -> dict[str, Sample]:
        """The files by each number of readers; the cache is given back before and after them."""
        samples: dict[str, Sample] = {}
        for name, readers in READERS.items():
            _forget(self.files, self.warm)
            samples[name] = Sample(seconds=plain_read(self.files, readers))
        _forget(self.files, self.warm)
        return samples

    def note(self, read: dict[str, Sample], seconds: float, loaded: int) -> None:
        """A turn that counts: its reads, and the seconds and bytes of loading."""
        self.reads.append(read)
        self.loads.append(seconds)
        self.loaded = loaded

    def show(self, row: dict[str, Any]) -> None:
        """Both rates and their ratio, the median over the turns; `row` is what loaded."""
        total = self.total
        fastest = [min(turn.values(), key=lambda each: each.seconds) for turn in self.reads]
        ways = {name: [turn[name] for turn in self.reads] for name in READERS}
        for name, samples in {"": fastest, **ways}.items():
            read = self.found.put(f"{PLAIN}, {name}" if name else PLAIN, samples)
            read["gb_per_second"] = total / read["seconds"]["median"] / 1e9
        row["gb_per_second"] = self.loaded / statistics.median(self.loads) / 1e9
        self.found.ratios[RATIO] = statistics.median(
            (self.loaded / load) / (total / read.seconds)
            for load, read in zip(self.loads, fastest, strict=True)
        )
        self.found.facts |= {
            "weights_gb": total / 1e9,
            "loaded_gb": self.loaded / 1e9,
            "page_cache": "warm" if self.warm else "given back",
        }


def _read_back(bench: Bench) -> Findings:
    """Drawn weights lie nowhere: the transformer is written, and read with and without us."""
    from ltx2.drawn import written_transformer

    given, found = bench.arguments, bench.found
    folder = (given.folder or bench.scratch) / "written"
    found.notes.append("the transformer alone; a clip's phases need a checkpoint's files")
    found.facts["blocks"] = given.blocks or "all"
    try:
        parts = written_transformer(bench.engine, folder, given.blocks)
        bench.engine.let_go(parts=True)
        rates = Rates(
            found=found, files=sorted(folder.glob("*.safetensors")), warm=given.warm_cache
        )
        loads: list[Sample] = []
        for turn in range(given.runs + 1):  # the first warms up the libraries, and the cache
            if turn > 1 and bench.turns.over:
                found.notes.append(f"{turn - 1} of {given.runs} turns were run: the time was up")
                break
            read = rates.read()
            load = timed(bench.device, lambda: _arrived(parts.part(TRANSFORMER)))
            loaded = tensor_bytes([parts.part(TRANSFORMER)])
            parts.drop(TRANSFORMER)
            told = ", ".join(f"{name} {each.seconds:.2f} s" for name, each in read.items())
            bench.tell(f"turn {turn}: {told}, loaded {load.seconds:.2f} s")
            if turn:
                loads.append(load)
                rates.note(read, load.seconds, loaded)
                rates.show(found.put("transformer", loads))
                bench.save()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _arrived(module: nn.Module) -> None:
    """Look at every page: on a CPU what was loaded is mapped, and read when it is looked at."""
    for tensor in module.parameters():
        if tensor.device.type == "cpu":
            tensor.view(torch.uint8).flatten()[::PAGE].max()


def weight_files(bench: Bench, mode: str) -> list[Path]:
    """The files that a clip of the mode reads."""
    weights = bench.engine.components.weights
    other = "dev" if mode == "fast" else "distilled"
    skipped = (f":{other}", "enhancer", "tokenizer", "duration_head", "diffusion_decoder")
    skipped += ("temporal_upscaler", "spatial_upscaler_x1.5")
    skipped += ("distilled_lora",) if mode == "fast" else ()
    found: dict[Path, None] = {}
    for name, paths in weights.parts.items():
        if name.endswith(skipped):
            continue
        for path in paths:
            inside = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
            found.update(dict.fromkeys(inside))
    return list(found)


def _forget(files: Sequence[Path], warm: bool) -> None:
    """Give back what the page cache holds of the files, as far as the system does."""
    if warm or not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def plain_read(files: Sequence[Path], readers: int = 1) -> float:
    """Seconds to read the files from the first to the last, each reader in large pieces into a
    buffer of its own.
    """
    began = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        for _ in pool.map(lambda span: _read(*span), spans(files)):
            pass
    return time.perf_counter() - began


def spans(files: Sequence[Path]) -> list[tuple[Path, int, int]]:
    """What one reader reads on end: file, first byte, and the one after its last."""
    return [
        (file, start, min(start + SPAN, size))
        for file, size in ((file, file.stat().st_size) for file in files)
        for start in range(0, size, SPAN)
    ]


def _read(file: Path, start: int, end: int) -> None:
    buffer = memoryview(bytearray(min(PIECE, end - start)))
    with file.open("rb", buffering=0) as source:
        source.seek(start)
        while start < end and (count := source.readinto(buffer[: end - start])):
            start += count


def started(bench: Bench) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of a new process by phase; and of its weights what they are, as it tells them."""
    asked = {
        "weights": bench.arguments.weights,
        "device": str(bench.device),
        "mode": bench.arguments.mode,
        "target": str(bench.scratch / "first.mp4"),
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scenarios.newborn", json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    whole = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"the new process failed: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    phases: dict[str, float] = {name: told["phases"][name] for name in PHASES}
    return {"interpreter": whole - sum(phases.values()), **phases}, told
