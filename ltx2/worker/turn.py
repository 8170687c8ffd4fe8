"""One process at a time on a disk that several machines share: whose turn it is to write there.

A network volume has no lock that all its machines honour, so a file is one: it is made by whoever
comes first, touched while the work goes on, and taken for abandoned when it is not.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

TOUCH = 15.0  # seconds between two signs of life
ABANDONED = 120.0  # seconds without one; clocks of two machines may differ by some
POLL = 2.0


@contextmanager
def turn(
    file: Path,
    *,
    abandoned: float = ABANDONED,
    touch: float = TOUCH,
    poll: float = POLL,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[None]:
    """The block runs while no other one with the same `file` does, on whatever machine.

    Raises OSError where the file cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while not _taken(file):
        if not waited:
            logger.info("another worker writes to %s; waiting for it", file.parent)
            waited = True
        if _silence(file) > abandoned:
            logger.warning("the worker that wrote to %s is gone", file.parent)
            with suppress(FileNotFoundError):
                file.unlink()
            continue
        sleep(poll)
    done = threading.Event()
    alive = threading.Thread(target=_touching, args=(file, done, touch), daemon=True)
    alive.start()
    try:
        yield
    finally:
        done.set()
        alive.join()
        with suppress(FileNotFoundError):
            file.unlink()


def _taken(file: Path) -> bool:
    """Whether it is this process's turn now."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True


def _silence(file: Path) -> float:
    """Seconds since the last sign of life; 0 where the file has just gone."""
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _touching(file: Path, done: threading.Event, every: float) -> None:
    while not done.wait(every):
        with suppress(OSError):
            os.utime(file)
