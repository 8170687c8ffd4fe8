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
from ltx2.errors import ConfigError, Ltx2Error
from ltx2.sources import Modes
from ltx2.weights import REAL, cuda, missing_files, resolve
from pipelines.models import CHECKPOINTS

if TYPE_CHECKING:
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
            "settings": self.settings,
        }


def examine(settings: "Settings") -> Report:
    """Look at everything. Takes seconds, since torch is asked about the GPU; changes nothing."""
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
        settings=settings.as_dict(),
    )


def _missing(name: str, settings: "Settings", mode: Modes) -> list[str]:
    try:
        return missing_files(CHECKPOINTS[name], settings, mode)
    except ConfigError as error:
        return [str(error)]  # a folder that cannot be read is as good as none, and says why


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
        from ltx2.engine import find_device, find_residency
        from pipelines.checkpoints.files import CheckpointError, find
    except (ImportError, OSError) as error:
        return Check(name="residency", fine=False, found=f"torch cannot be asked: {error}")
    try:
        chosen = resolve(settings.checkpoint, settings, prepare=False)
        device = find_device(settings.device)
        weights_bytes = 0  # as good as nothing, which is what the embedded checkpoint takes
        if chosen.path.exists():
            weights = find(
                chosen.path,
                chosen.row,
                text_encoder=chosen.text_encoder,
                transformer=chosen.transformer,
            )
            weights_bytes = weights.nbytes
    except (Ltx2Error, CheckpointError, OSError) as error:
        return Check(name="residency", fine=False, found=f"not known: {error}")
    mode, reason = find_residency(weights_bytes, device, settings)
    return Check(name="residency", fine=True, found=f"{mode} for {chosen.name}: {reason}")


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
    """The cache's disk must take the embedded checkpoint and a clip; a real model's download checks
    its own need.
    """
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
