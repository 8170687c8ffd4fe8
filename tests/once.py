"""A folder that is made once a run of the tests, whichever of its processes asks for it first."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], object]
) -> Path:
    """The folder `name` of this run, filled by `make`, which is given it while it is empty.

    `worker_id` is xdist's: where several processes share the tests, they share the folder as well,
    and whoever comes second waits. A `make` that fails is tried again by the next one.
    """
    own = factory.getbasetemp()
    root = own if worker_id == "master" else own.parent
    folder, done = root / name, root / f".{name}-made"
    with (root / f".{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
