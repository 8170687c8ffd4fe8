"""Jobs that make no clip for anyone: `health`, `schema`, `smoke` and `enhance`. Real weights are
needed by the last alone.
"""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.delivery.file import ToFile
from ltx2.prepare import prepare
from ltx2.progress import Progress
from ltx2.request import Request
from ltx2.second_try import once_more_with_room
from ltx2.session import generate
from ltx2.settings import Settings
from ltx2.words import settle
from ltx2.worker.answer import without_folders
from ltx2.worker.schema import input_schema, result_schema
from ltx2.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.worker.start import Started

LIBRARIES = ("ltx2", "torch", "diffusers", "transformers", "peft", "runpod")
GIB = 2**30
# The smallest clip that takes every step of a fast one: two passes, sound, a file.
SMOKE: Mapping[str, Any] = {
    "prompt": "smoke", "seed": 0, "width": 128, "height": 128, "num_frames": 9
}  # fmt: skip


def schema() -> dict[str, Any]:
    """JSON Schemas of what a job may say and of what it is answered."""
    return {"input": input_schema(), "result": result_schema()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether this worker can make clips, and what it has done so far."""

    worker: WorkerSettings
    started: "Started | None"
    store: str  # where clips go: "s3" or "none"
    counts: Mapping[str, int]
    uptime: float  # seconds
    lost: bool

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, without paths and host names."""
        return {
            "status": "lost" if self.lost else "starting" if self.started is None else "ready",
            "versions": versions(),
            "model": None if self.started is None else _model(self.started.engine),
            "device": self._device(),
            "start": None if self.started is None else _rounded(self.started.timings),
            "modes": self.worker.modes,
            "store": self.store,
            "inline_bytes": self.worker.inline_bytes,
            "execution_seconds": self.worker.execution_seconds,
            "jobs": {
                name: self.counts.get(name, 0) for name in ("finished", "failed", "cancelled")
            },
            "uptime_seconds": round(self.uptime, 1),
        }

    def _device(self) -> dict[str, Any] | None:
        """None where it is not known, or answers nothing any more."""
        return None if self.started is None or self.lost else device_facts(self.started.engine)


def versions() -> dict[str, str]:
    """Versions of what decides a clip's numbers."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def smoke(
    settings: Settings, folder: Path, progress: Progress, *, loaded: "Started | None"
) -> dict[str, Any]:
    """Make a small clip with the embedded checkpoint on this machine's device and tell of it.

    It shows that device, libraries and encoder work, with or without the real weights. The worker's
    own engine is used where it is the embedded checkpoint's.
    """
    from ltx2.engine import Engine

    if loaded is not None and loaded.engine.checkpoint.name == "tiny":
        engine = loaded.engine
    else:
        engine = Engine.load("tiny", settings=replace(settings, residency=None))
    request, target = Request.parse(dict(SMOKE)), ToFile(folder / "smoke.mp4")
    receipt = generate(request, engine=engine, deliver=target, progress=progress)
    result = receipt.as_dict()
    facts = ("bytes", "sha256", "width", "height", "num_frames", "has_audio", "timings")
    return {
        "ok": True,
        "versions": versions(),
        "device": device_facts(engine),
        **{name: result[name] for name in facts},
    }


def enhance(
    request: Request,
    engine: "Engine",
    *,
    folders: Sequence[Path],
    progress: Progress,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """A request's prompt as the model rewrites it for a clip with `enhance_prompt`, and the seed
    that gives the same words again. Raises as `prepare` and `settle` do.
    """
    prepared = prepare(
        request,
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
        paths=False,
        folders=folders,
        stop=stop,
    )
    words, _ = once_more_with_room(
        engine,
        partial(
            settle, request, engine, plan=prepared.plan, inputs=prepared.inputs, progress=progress
        ),
    )
    return {"prompt": words.request.prompt, "seed": words.request.seed}


def device_facts(engine: "Engine") -> dict[str, Any]:
    """What the engine runs on."""
    import torch

    device = engine.components.device
    if device.type != "cuda":
        return {"type": device.type, "threads": torch.get_num_threads()}
    free, total = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "type": "cuda",
        "name": torch.cuda.get_device_name(device),
        "capability": f"{major}.{minor}",
        "memory_gib": round(total / GIB, 1),
        "free_gib": round(free / GIB, 1),
    }


def _model(engine: "Engine") -> dict[str, Any]:
    return {
        "checkpoint": engine.checkpoint.name,
        "generation": engine.checkpoint.generation.name,
        "embedded": engine.checkpoint.embedded,
        "reason": without_folders(engine.reason),
        "residency": engine.components.residency,
        "loaded": sorted(engine.components.held),
    }


def _rounded(timings: Mapping[str, float]) -> dict[str, float]:
    return {name: round(seconds, 3) for name, seconds in timings.items()}
