"""Many clips: through one engine one after the other, and through the command `ltx2 batch`."""

import argparse
import json
import subprocess
import sys
import time

from benchmarks.bench import PROMPT, Bench
from benchmarks.card import ROOT
from benchmarks.results import Findings
from benchmarks.timing import Sample, Stages, timed
from ltx2.delivery.file import ToFile
from ltx2.session import execute

CLIPS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--mode", choices=("fast", "pro"), default="fast")


def measure(bench: Bench) -> Findings:
    """Clips a minute, loading not counted in the one and counted in the other."""
    found = Findings()
    count = bench.arguments.clips
    _one(bench, 0)
    whole: list[Sample] = []
    for turn in range(bench.arguments.runs):
        runs = [_one(bench, 1 + turn * count + number) for number in range(count)]
        whole.append(Sample(seconds=sum(run.seconds for run in runs)))
        bench.tell(f"run {turn + 1}: {count} clips in {whole[-1].seconds:.2f} s")
    row = found.add("one engine", whole, clips=count)
    row["clips_per_minute"] = 60 * count / row["seconds"]["median"]
    if bench.random:
        found.notes.append("the command was not run: it reads its weights")
        return found
    row = found.add("ltx2 batch, loading counted", [_command(bench, count)], clips=count)
    row["clips_per_minute"] = 60 * count / row["seconds"]["median"]
    return found


def _one(bench: Bench, number: int) -> Sample:
    """A clip of words of its own."""
    engine = bench.engine
    prepared = bench.prepared(mode=bench.arguments.mode, prompt=f"{PROMPT} {number}", seed=number)
    report = Stages(engine.components.device)
    target = ToFile(bench.scratch / f"{number}.mp4")
    return timed(
        report.device,
        lambda: execute(prepared, engine=engine, deliver=target, progress=report),
    )


def _command(bench: Bench, count: int) -> Sample:
    """The same clips by the command, in a process of its own."""
    requests = bench.scratch / "requests.jsonl"
    lines = [
        {"prompt": f"{PROMPT} {number}", "seed": number, "mode": bench.arguments.mode}
        for number in range(1, count + 1)
    ]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "ltx2", "batch", str(requests), "--out",
               str(bench.scratch / "out"), "--checkpoint", bench.arguments.weights,
               "--device", str(bench.device)]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"ltx2 batch failed: {done.stderr[-2000:]}")
    return Sample(seconds=seconds)
