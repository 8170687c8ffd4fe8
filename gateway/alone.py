"""A file that one process at a time may use: SQLite's, whose gateway must be the only one."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltx2.errors import ConfigError


@contextmanager
def alone(file: Path, *, taken: str) -> Iterator[None]:
    """The file is ours until the block or the process ends; it need not be there yet.

    Raises ConfigError: the sentence `taken` where another has it, or one for a folder that cannot
    be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_name(f"{file.name}.lock").open("w")
    except OSError as error:
        raise ConfigError(f"{file.parent} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(taken) from error
        yield
