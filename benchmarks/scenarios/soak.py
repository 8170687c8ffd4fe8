"""Many jobs through one worker: does anything grow, and is every job answered exactly once?

One process takes jobs as the RunPod worker does, one at a time: both modes, pictures, LoRAs, the
detailer, doubled frame rates, refused requests of each kind, clips too large to answer, memory
that runs out, faults of the program, deadlines that pass and cancels at random moments. After each
job memory, a GPU's as well, open files, threads and files left behind are counted. It is a problem
where a floor rises, a file stays, or a job has not one answer; the worker's log is then printed.
"""

import argparse
import asyncio
import base64
import gc
import io
import random
import shutil
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import LTX2VideoTransformer3DModel
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.bench import Bench, Unmeasurable
from benchmarks.results import Findings
from ltx2.settings import Settings
from ltx2.worker.gate import Gate
from ltx2.worker.log import configure
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.worker import Worker

MIB = 2**20
WARM = 0.3  # share of the jobs in which caches fill and the allocator finds its size
SLOPE = 0.25  # MiB a job: most that the floor of either memory may rise after that
SMALL = {"width": 128, "height": 128, "num_frames": 9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job and how it should end: "ok", an error code, "cancelled"; or one of several, by |."""

    name: str
    given: Mapping[str, Any]
    wanted: str = "ok"
    beside: Mapping[str, Any] | None = None
    cancel_after: float | None = None  # seconds
    fault: type[Exception] | None = None  # that the transformer raises


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the process holds after a job."""

    rss: float  # MiB
    descriptors: int
    threads: int
    files: int  # in the folders that jobs work in
    gpu: float = 0.0  # MiB that torch holds on it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1, help="of the order and the moments")


def card(bench: Bench) -> dict[str, Any]:
    """Which jobs there are."""
    given = bench.arguments
    if given.weights != "tiny":
        raise Unmeasurable("its jobs are made for the tiny checkpoint")
    return {"weights": "tiny", "jobs": given.jobs, "seed": given.seed}


def measure(bench: Bench) -> Findings:
    """Run the jobs and judge."""
    given, found = bench.arguments, bench.found
    seconds, verdict = asyncio.run(
        soak(given.jobs, given.seed, str(bench.device), bench.scratch, bench.tell)
    )
    found.problems = verdict.pop("problems")
    found.facts = {"jobs": given.jobs, "seconds": round(seconds, 1), **verdict}
    if not found.problems:
        found.notes.append("nothing grew, and every job had the answer it should")
    return found


async def soak(
    jobs: int, seed: int, device: str, folder: Path, tell: Callable[[str], object]
) -> tuple[float, dict[str, Any]]:
    """Seconds of that many jobs, and what is to be said of them."""
    settings = replace(Settings.from_env(), checkpoint="tiny", device=device, max_seconds=4.0)
    worker_settings = replace(
        WorkerSettings.from_env(),
        scratch=folder / "scratch",
        keep_folder=folder / "kept",
        keep_bytes=4 * MIB,
        inline_bytes=100_000,
        input_folders=(folder / "inputs",),
        modes="all",
        log_level="error",
    )
    for each in ("scratch", "inputs"):
        (folder / each).mkdir()
    log = (folder / "log").open("w+")
    configure(worker_settings, settings, stream=log)
    worker = Worker(settings, worker_settings)
    gate = Gate(worker)
    weights = worker.ensure_loaded().source
    camera = next(weights.rglob("*amera*.safetensors"))
    shutil.copy(camera, folder / "inputs" / "own.safetensors")
    outcomes, wrong, samples = Counter[str](), list[str](), list[Sample]()
    began = time.monotonic()
    for number, case in enumerate(cases(jobs, random.Random(seed))):
        with failing(case.fault):
            got = await answered(gate, number, case)
        outcomes[f"{case.name}: {got}"] += 1
        if got not in case.wanted.split("|"):
            wrong.append(f"job {number} ({case.name}) was answered {got}, not {case.wanted}")
        samples.append(sample(folder, torch.device(device)))
    seconds = time.monotonic() - began
    gate.close()
    for line, count in sorted(outcomes.items()):
        tell(f"{count:>5}  {line}")
    verdict = judged(samples, wrong)
    if verdict["problems"]:
        log.seek(0)
        shutil.copyfileobj(log, sys.stderr)
    log.close()
    return seconds, verdict


async def answered(gate: Gate, number: int, case: Case) -> str:
    """How a job ended; it ends once, since a call has one result."""
    job = {"id": f"job-{number}", "input": {**case.given}, **(case.beside or {})}
    sent: list[int] = []
    call = asyncio.create_task(gate(job, send=lambda progress: sent.append(progress["seq"])))
    if case.cancel_after is not None:
        await asyncio.wait({call}, timeout=case.cancel_after)
        if not call.cancel():
            return "ended before"
    try:
        answer = await call
    except asyncio.CancelledError:
        return "cancelled"
    if sent != list(range(len(sent))):
        return "progress out of order"
    if "error" in answer:
        return answer["error_code"]
    return "ok" if answer.get("video") or answer.get("video_url") else "no video"


@contextmanager
def failing(fault: type[Exception] | None) -> Iterator[None]:
    """The transformer raises `fault` when it is called, with activations in the traceback.

    Not where a run is rehearsed without weights, to foretell what it takes.
    """

    def fail(module: torch.nn.Module, _inputs: object) -> None:
        if fault is None or not isinstance(module, LTX2VideoTransformer3DModel):
            return
        if next(module.parameters()).device.type != "meta":
            activations = torch.zeros(MIB)
            raise fault(f"no result of {activations.numel():,} values")

    hook = None if fault is None else register_module_forward_pre_hook(fail)
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def cases(count: int, dice: random.Random) -> Iterator[Case]:
    """Jobs of every kind, the same for the same seed."""
    picture = io.BytesIO()
    Image.new("RGB", (96, 64), "teal").save(picture, "PNG")
    image = base64.b64encode(picture.getvalue()).decode()
    clips: list[dict[str, Any]] = [
        {},
        {"mode": "pro", "num_inference_steps": 3},
        {"image_base64": image},
        {"mode": "pro", "num_inference_steps": 3, "image": image, "last_image": image},
        {"camera_motion": "dolly_in", "camera_strength": 0.5},
        {"camera_motion": "jib_up", "detailer": True},
        {"loras": [{"source": "own.safetensors", "strength": 0.7}]},
        {"temporal_upscaler": True},
        {"spatial_upscaler": False, "generate_audio": False},
        {"width": 256, "height": 192, "num_frames": 17},
    ]
    refused: list[tuple[dict[str, Any], str, dict[str, Any] | None]] = [
        ({"seed": -1}, "BAD_REQUEST", None),
        ({"image_base64": "bm90IGEgcGljdHVyZSBhdCBhbGw="}, "MEDIA_REFUSED", None),
        ({"image_url": "http://127.0.0.1/a.png"}, "MEDIA_REFUSED", None),
        ({"width": 4096, "height": 4096}, "TOO_LARGE", None),
        ({"output": "url"}, "CONFIG", None),
        ({"loras": [{"source": "not_there"}]}, "BAD_REQUEST", None),
        ({"num_frames": 57}, "DEADLINE", {"policy": {"executionTimeout": 100}}),
        ({"upload_url": "http://127.0.0.1/put"}, "BAD_REQUEST", None),
        ({"width": 256, "height": 256, "num_frames": 97}, "DELIVERY_FAILED", None),
    ]
    faults = {"OUT_OF_MEMORY": torch.OutOfMemoryError, "INTERNAL": KeyError}
    for _ in range(count):
        given = {"prompt": f"clip {dice.randrange(6)}", "seed": dice.randrange(2**32), **SMALL}
        kind = dice.random()
        if kind < 0.6:
            chosen = dice.randrange(len(clips))
            yield Case(name=f"clip {chosen}", given=given | clips[chosen])
        elif kind < 0.77:
            chosen = dice.randrange(len(refused))
            more, code, beside = refused[chosen]
            yield Case(name=f"refused {chosen}", given=given | more, wanted=code, beside=beside)
        elif kind < 0.82:
            code = dice.choice(list(faults))
            yield Case(name="fault", given=given, wanted=code, fault=faults[code])
        else:
            after = dice.uniform(0, 1.5)
            longer = {"width": 256, "height": 256, "num_frames": 25, "mode": "pro"}
            yield Case(
                name="cancelled",
                given=given | longer,
                wanted="cancelled|ended before",  # a fast machine needs no more than the moment
                cancel_after=after,
            )


def sample(folder: Path, device: torch.device) -> Sample:
    """What the process holds, once what is only waiting to be collected is gone."""
    gc.collect()
    process = psutil.Process()
    return Sample(
        rss=process.memory_info().rss / MIB,
        descriptors=process.num_fds(),
        threads=threading.active_count(),
        files=sum(1 for _ in (folder / "scratch").rglob("*")),
        gpu=torch.cuda.memory_allocated(device) / MIB if device.type == "cuda" else 0.0,
    )


def judged(samples: list[Sample], wrong: list[str]) -> dict[str, Any]:
    """The floors and what is wrong with them."""
    warm = samples[int(len(samples) * WARM) :]
    floors, slope = floor_slope([each.rss for each in warm])
    gpu_floors, gpu_slope = floor_slope([each.gpu for each in warm])
    half = len(warm) // 2
    early, late = warm[:half], warm[half:]
    problems = list(wrong)
    if slope > SLOPE:
        problems.append(f"memory rises by {slope:.2f} MiB a job; {SLOPE} are allowed")
    if gpu_slope > SLOPE:
        problems.append(f"the GPU's memory rises by {gpu_slope:.2f} MiB a job; {SLOPE} are allowed")
    for name in ("descriptors", "threads"):
        before, after = (min(getattr(e, name) for e in part) for part in (early, late))
        if after > before:
            problems.append(f"the floor of open {name} rose from {before} to {after}")
    if left := samples[-1].files:
        problems.append(f"{left} files are left in the folder that jobs work in")
    return {
        "problems": problems,
        "rss_mib": [round(samples[0].rss), round(warm[0].rss), round(samples[-1].rss)],
        "floors_mib": [round(floor) for floor in floors],
        "slope_mib_per_job": round(slope, 3),
        **_of_gpu(gpu_floors, gpu_slope),
        "descriptors": [min(e.descriptors for e in part) for part in (early, late)],
        "live_threads": [min(e.threads for e in part) for part in (early, late)],
        "files": samples[-1].files,
    }


def _of_gpu(floors: list[float], slope: float) -> dict[str, Any]:
    """What is told of a GPU's memory; nothing where there was none."""
    if not any(floors):
        return {}
    return {
        "gpu_floors_mib": [round(floor) for floor in floors],
        "gpu_slope_mib_per_job": round(slope, 3),
    }


def floor_slope(values: list[float]) -> tuple[list[float], float]:
    """The lowest value of each of ten stretches, and by how much they rise a job, by a line."""
    length = max(1, len(values) // 10)
    stretches = [values[i : i + length] for i in range(0, len(values) - length + 1, length)]
    floors = [min(each) for each in stretches]
    if len(floors) < 2:
        return floors, 0.0
    return floors, statistics.linear_regression(range(len(floors)), floors).slope / length
