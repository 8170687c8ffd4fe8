"""The folder a job works in: gone when the job ends, and cleared away if the process was killed."""

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

# Of this machine: on a disk that several share, nobody knows which processes of another one run.
_HERE = "ltx2-job-" + re.sub(r"[^A-Za-z0-9]", "_", platform.node()) + "-"
_NAME = re.compile(re.escape(_HERE) + r"(\d{1,9})-.+")


def job_folder(parent: Path | None) -> "tempfile.TemporaryDirectory[str]":
    """A new folder for one job, to be used in a `with`; None: in the system's temporary folder."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)  # a local run makes no checks, which made it
    return tempfile.TemporaryDirectory(dir=parent, prefix=f"{_HERE}{os.getpid()}-")


def clear_leftovers(parent: Path | None) -> int:
    """Remove the folders of jobs of this machine whose process is gone; how many there were.

    A number that is in use again belongs to another process, unless it is this one's: in a
    container a worker always has the same.
    """
    folder = Path(tempfile.gettempdir()) if parent is None else parent
    found = [each for each in folder.glob(f"{_HERE}*") if _abandoned(each)]
    for each in found:
        shutil.rmtree(each, ignore_errors=True)
    return len(found)


def _abandoned(folder: Path) -> bool:
    match = _NAME.fullmatch(folder.name)
    if match is None:
        return False
    number = int(match[1])
    return number == os.getpid() or not _runs(number)


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True
