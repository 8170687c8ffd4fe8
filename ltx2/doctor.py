"""What this machine can run, and why not: Python, torch, GPU, disk, ffmpeg, weights, settings."""

import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.download import free_bytes, gigabytes
from ltx2.errors import BadRequest, ConfigError, Ltx2Error
from ltx2.sources import Modes
from ltx2.weights import REAL, cuda, missing_extras, missing_files, resolve
from pipelines.models import CHECKPOINTS

if TYPE_CHECKING:
    from ltx2.memory_table import Row
    from ltx2.settings import Settings

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "av")
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. A `needed` one that is not fine stops everything."""

    name: str
    fine: bool
    found: str  # in words
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All checks, the models and the settings in effect."""

    checks: tuple[Check, ...]
    models: dict[str, dict[str, list[str]]]  # name -> mode -> missing files; empty = complete
    auto: str  # what `auto` chooses, and why
    extras: dict[str, dict[str, str]]  # name -> what is optional and not here -> its file
    memory: "Memory"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def can_run(self) -> bool:
        """Whether a generation can run here, be it on the embedded checkpoint."""
        return all(check.fine for check in self.checks if check.needed)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {
            "can_run": self.can_run,
            "auto": self.auto,
            "checks": [
                {"name": c.name, "fine": c.fine, "needed": c.needed, "found": c.found}
                for c in self.checks
            ],
            "models": {
                name: {
                    mode: {"complete": not missing, "missing": missing}
                    for mode, missing in modes.items()
                }
                for name, modes in self.models.items()
            },
            "memory": self.memory.as_dict(),
            "missing_extras": self.extras,
            "settings": self.settings,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What usual clips of one checkpoint take, in each residency."""

    checkpoint: str
    room: str  # what this machine has, in words; or why nothing is known
    rows: "tuple[Row, ...]" = ()

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "checkpoint": self.checkpoint,
            "room": self.room,
            "rows": [row.as_dict() for row in self.rows],
        }


def examine(settings: "Settings", checkpoint: str | None = None) -> Report:
    """Look at everything; the memory table is that of `checkpoint`, or of the one a generation
    would take. Takes seconds, since torch is asked about the GPU and usual clips are run without
    weights; changes nothing.

    Raises BadRequest for a checkpoint that is none.
    """
    checks = (
        _python(),
        *(_library(name) for name in LIBRARIES),
        _torch(),
        _gpu(),
        _residency(settings),
        _disk(settings.cache),
        _ffmpeg(),
    )
    models = {
        name: {mode: _missing(name, settings, mode) for mode in ("fast", "pro")} for name in REAL
    }
    auto = resolve("auto", settings, prepare=False)
    return Report(
        checks=checks,
        models=models,
        auto=f"{auto.name}: {auto.reason}",
        extras={name: _extras(name, settings) for name in REAL},
        memory=_memory(settings, checkpoint),
        settings=settings.as_dict(),
    )


def _missing(name: str, settings: "Settings", mode: Modes) -> list[str]:
    try:
        return missing_files(CHECKPOINTS[name], settings, mode)
    except ConfigError as error:
        return [str(error)]  # a folder that cannot be read is as good as none, and says why


def _extras(name: str, settings: "Settings") -> dict[str, str]:
    try:
        return missing_extras(CHECKPOINTS[name], settings)
    except ConfigError:
        return {}  # the folder that cannot be read is told of with the modes


def _python() -> Check:
    version = platform.python_version()
    fine = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    return Check(
        name="python",
        fine=fine,
        found=f"{version} on {platform.platform()}" + ("" if fine else "; 3.11 or newer is needed"),
        needed=True,
    )


def _library(name: str) -> Check:
    try:
        return Check(name=name, fine=True, found=importlib.metadata.version(name), needed=True)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, fine=False, found="not installed: make setup", needed=True)


def _torch() -> Check:
    """The build of torch, and that it can be imported at all: a broken CUDA library shows only
    then.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(
            name="torch build", fine=False, found=f"cannot be imported: {error}", needed=True
        )
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return Check(name="torch build", fine=True, found=f"{torch.__version__}, {build}", needed=True)


def _gpu() -> Check:
    try:
        state = cuda(confirm=True)
    except (ImportError, OSError) as error:
        return Check(name="gpu", fine=False, found=f"torch cannot be asked: {error}")
    if not state.usable:
        driver = nvidia_smi()
        words = f"{state.reason}; nvidia-smi lists {driver}" if driver else state.reason
        return Check(
            name="gpu", fine=False, found=f"{words}. Only the embedded checkpoint runs well"
        )
    import torch

    names = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        names.append(f"{name}, {total / GIB:.0f} GiB, {free / GIB:.0f} free")
    return Check(name="gpu", fine=True, found="; ".join(names))


def _residency(settings: "Settings") -> Check:
    """Where the parts of the checkpoint would live that a generation takes."""
    try:
        from ltx2.engine import Engine
        from pipelines.checkpoints.files import CheckpointError
    except (ImportError, OSError) as error:
        return Check(name="residency", fine=False, found=f"torch cannot be asked: {error}")
    try:
        chosen = resolve(settings.checkpoint, settings, prepare=False)
        engine = Engine.open(chosen, settings)
    except (Ltx2Error, CheckpointError, OSError) as error:
        return Check(name="residency", fine=False, found=f"not known: {error}")
    found = f"{engine.components.residency} for {chosen.name}: {engine.residency_reason}"
    return Check(name="residency", fine=True, found=found)


def _memory(settings: "Settings", name: str | None) -> Memory:
    """The memory table: from the files where they are here, else from the released architecture."""
    wanted = name or settings.checkpoint
    try:
        from ltx2.engine import Engine, find_device
        from ltx2.memory_table import released_fit, rows
        from ltx2.room import room_on
        from pipelines.checkpoints.files import CheckpointError
    except (ImportError, OSError) as error:
        return Memory(checkpoint=wanted, room=f"not known, torch cannot be asked: {error}")
    try:
        room = room_on(find_device(settings.device), limit=settings.device_memory)
        if name in REAL and missing_files(CHECKPOINTS[name], settings, "fast"):
            row = CHECKPOINTS[name]
            fit = released_fit(
                row,
                {
                    "transformer": settings.transformer_quantisation,
                    "text_encoder": settings.text_encoder_quantisation,
                },
            )
        else:
            chosen = resolve(wanted, settings, prepare=False)
            row = chosen.row
            fit = Engine.open(chosen, settings).fit
        found = tuple(rows(fit, row, room))
    except BadRequest:
        raise
    except (Ltx2Error, CheckpointError, OSError) as error:
        return Memory(checkpoint=wanted, room=f"not known: {error}")
    return Memory(checkpoint=row.name, room=room.described(), rows=found)


def nvidia_smi() -> str | None:
    """The driver's own list of cards; None where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(answer.stdout.split("\n")).strip("; ") or None


def _disk(folder: Path, free: Callable[[Path], int] = free_bytes) -> Check:
    """The cache's disk must take a clip and a few LoRAs; a model's download checks its own need."""
    count = free(folder)
    return Check(
        name="disk",
        fine=count > GIB // 2,
        found=f"{gigabytes(count)} free for {folder}",
        needed=True,
    )


def _ffmpeg() -> Check:
    from ltx2.media.encode import check_ffmpeg

    try:
        check_ffmpeg()
    except ConfigError as error:
        return Check(name="ffmpeg", fine=False, found=str(error), needed=True)
    return Check(name="ffmpeg", fine=True, found="with libx264 and aac", needed=True)
