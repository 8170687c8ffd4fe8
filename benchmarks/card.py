"""The card of a measurement: on what, with what, of which code."""

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "diffusers", "transformers")
ROOT = Path(__file__).resolve().parents[1]


def machine(device: torch.device) -> dict[str, Any]:
    """The device, its limits, and the versions that decide how fast it is."""
    card: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of the machine, as this began
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        card |= {
            "memory_gib": round(facts.total_memory / 2**30, 1),
            "capability": f"{facts.major}.{facts.minor}",
            "cuda": torch.version.cuda,
            **gpu_limits(device.index or 0),
        }
    return card


def device_name(device: torch.device) -> str:
    """What is printed on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", file.read_text()) if file.is_file() else None
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def gpu_limits(index: int) -> dict[str, str]:
    """Driver and power limit; empty where the driver's program is not there."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    query = ["--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
    done = subprocess.run(
        [program, f"--id={index}", *query], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {}
    driver, power, clock = (each.strip() for each in done.stdout.split(","))
    return {"driver": driver, "power_limit": power, "clock_limit": clock}


def commit() -> str:
    """The commit of the checkout, with a + where files differ from it."""
    program = shutil.which("git")
    if program is None:
        return "unknown"

    def told(*arguments: str) -> str:
        done = subprocess.run(
            [program, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = told("status", "--porcelain", "--untracked-files=no", "--", "ltx2", "pipelines",
                   "loras", "benchmarks", ":(exclude)benchmarks/results")  # fmt: skip
    return f"{told('rev-parse', '--short', 'HEAD') or 'unknown'}{'+' if changed else ''}"


def slug(name: str) -> str:
    """A file name for a device."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def plan_line(plan: Any) -> str:  # noqa: ANN401 - a plan
    """A plan in one line: what runs at which size, and how often."""
    passes = ", ".join(
        f"{name} {part.steps} steps at {part.width}x{part.height}x{part.frames}"
        for name, part in plan.passes.items()
    )
    return (
        f"{plan.task} {plan.mode} {plan.width}x{plan.height}x{plan.num_frames} at {plan.fps} fps: "
        f"{passes}; seed {plan.seed}"
    )
