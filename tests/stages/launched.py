"""Python started as several processes that know one another, as a user starts them."""

import subprocess
import sys
from pathlib import Path

from ltx2.settings import process_environment

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """This process's, for one that runs the project from another folder, on one thread."""
    return {**process_environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launched(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `torchrun --nproc-per-node PROCESSES ARGUMENTS` did, in this folder."""
    return _ran(
        "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *arguments
    )


def accelerated(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `accelerate launch --multi_gpu --num_processes PROCESSES ARGUMENTS` did likewise."""
    options = ("--multi_gpu", f"--num_processes={processes}")
    return _ran("accelerate.commands.launch", *options, *arguments)


def _ran(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
