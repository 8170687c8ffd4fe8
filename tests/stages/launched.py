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
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *torchrun, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
