"""A new process to its first clip, by phase; and how fast its weights came off the disk.

Each turn reads the files plainly first and then starts the process, both with what the page cache
held of them given back, unless it is asked to be warm. A file system that keeps them all the same
shows as a plain read that no disk could do.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.bench import Bench
from benchmarks.card import ROOT
from benchmarks.results import Findings
from benchmarks.timing import Sample, timed

PIECE = 16 * 2**20  # bytes of one plain read
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
    files = weight_files(bench, given.mode)
    total = sum(file.stat().st_size for file in files)
    reads: list[Sample] = []
    starts: list[Sample] = []
    first = int(given.warm_cache)  # the first turn fills the cache
    for turn in range(given.runs + first):
        if turn > first and bench.turns.over:
            found.notes.append(f"{turn - first} of {given.runs} turns were run: the time was up")
            break
        _forget(files, given.warm_cache)
        reads.append(Sample(seconds=plain_read(files)))
        _forget(files, given.warm_cache)
        phases, loaded = started(bench)
        starts.append(Sample(seconds=sum(phases.values()), stages=phases))
        bench.tell(f"turn {turn + 1}: " + ", ".join(f"{n} {s:.2f} s" for n, s in phases.items()))
        if turn < first:
            continue
        read = found.put("plain read", reads[first:])
        start = found.put("process to first clip", starts[first:])
        seconds = start["stages"]["weights"]["median"]
        read["gb_per_second"] = total / read["seconds"]["median"] / 1e9
        start["gb_per_second"] = total / seconds / 1e9
        found.ratios["rate of loading / plain read"] = read["seconds"]["median"] / seconds
        found.facts = {**_of_weights(given, total), "seconds_by_part": loaded}
        bench.save()
    return found


def _of_weights(given: argparse.Namespace, total: int) -> dict[str, Any]:
    """How many bytes are read, and from where."""
    return {
        "weights_gb": total / 1e9,
        "page_cache": "warm" if given.warm_cache else "given back",
    }


def _read_back(bench: Bench) -> Findings:
    """Drawn weights lie nowhere: the transformer is written, and read with and without us."""
    from ltx2.drawn import written_transformer

    given, found = bench.arguments, bench.found
    folder = (given.folder or bench.scratch) / "written"
    try:
        parts = written_transformer(bench.engine, folder, given.blocks)
        files = sorted(folder.glob("*.safetensors"))
        total = sum(file.stat().st_size for file in files)
        bench.engine.let_go(parts=True)
        reads: list[Sample] = []
        loads: list[Sample] = []
        for turn in range(given.runs + 1):  # the first warms up the libraries, and the cache
            if turn > 1 and bench.turns.over:
                found.notes.append(f"{turn - 1} of {given.runs} turns were run: the time was up")
                break
            _forget(files, given.warm_cache)
            reads.append(Sample(seconds=plain_read(files)))
            _forget(files, given.warm_cache)
            loads.append(timed(bench.device, lambda: _arrived(parts.part("transformer:distilled"))))
            parts.drop("transformer:distilled")
            told = f"read {reads[-1].seconds:.2f} s, loaded {loads[-1].seconds:.2f} s"
            bench.tell(f"turn {turn}: {told}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, samples in (("plain read", reads[1:]), ("transformer", loads[1:])):
        row = found.add(name, samples)
        row["gb_per_second"] = total / row["seconds"]["median"] / 1e9
    found.compare("plain read", "transformer")
    found.facts = {**_of_weights(given, total), "blocks": given.blocks or "all"}
    found.notes.append("the transformer alone; a clip's phases need a checkpoint's files")
    return found


def _arrived(module: nn.Module) -> None:
    """Look at every value: on a CPU what was loaded is mapped, and read when it is looked at."""
    for tensor in module.parameters():
        if tensor.device.type == "cpu":
            tensor.view(torch.uint8).max()


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


def _forget(files: list[Path], warm: bool) -> None:
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


def plain_read(files: list[Path]) -> float:
    """Seconds to read the files one after the other, in large pieces into one buffer."""
    buffer = bytearray(PIECE)
    began = time.perf_counter()
    for file in files:
        with file.open("rb", buffering=0) as source:
            while source.readinto(buffer):
                pass
    return time.perf_counter() - began


def started(bench: Bench) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a new process by phase, and of its weights by part."""
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
    return {"interpreter": whole - sum(phases.values()), **phases}, told["parts"]
