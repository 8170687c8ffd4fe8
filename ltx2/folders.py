"""Folders in which a remote caller may name files: what lies outside of them is not there."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
# A device or a pipe could otherwise make the opening itself wait.
_FILE_FLAGS = _FLAGS | os.O_NONBLOCK


class NotThere(Exception):
    """No file of the folders: missing, elsewhere or no plain file; nobody is told which."""


def find(text: str, folders: Sequence[Path]) -> Path:
    """The file that `text` names, absolute or seen from a folder, by its real path.

    Raises NotThere. The first folder that has it counts.
    """
    for folder in folders:
        try:
            root = folder.resolve(strict=True)
            file = (root / text).resolve(strict=True)  # an absolute text replaces the folder
            if file.is_relative_to(root) and file != root:
                with opened(file, (root,)):
                    return file
        except (OSError, ValueError, RuntimeError, NotThere):
            # ValueError: a NUL in it, or what no file name can spell; RuntimeError: links in a ring
            continue
    raise NotThere(text)


@contextmanager
def opened(file: Path, folders: Sequence[Path]) -> Iterator[int]:
    """A descriptor of a file that `find` gave, for reading, closed afterwards.

    It is opened folder by folder without following a link: what was exchanged since it was found
    leads nowhere. Raises NotThere.
    """
    descriptor = -1
    for folder in folders:
        try:
            root = folder.resolve(strict=True)
            if file.is_relative_to(root) and file != root:
                descriptor = _descend(root, file.relative_to(root).parts)
                break
        except (OSError, ValueError, RuntimeError):
            continue
    if descriptor < 0:
        raise NotThere(str(file))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def there(folders: Sequence[Path]) -> list[Path]:
    """Those of the folders that exist: the only ones a caller is told of."""
    return [folder for folder in folders if os.access(folder, os.R_OK | os.X_OK)]


def _descend(root: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of root/part/part. Raises OSError, also for what is no plain file."""
    here = os.open(root, _FLAGS | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        _require_file(os.stat(parts[-1], dir_fd=here, follow_symlinks=False))
        found = os.open(parts[-1], _FILE_FLAGS, dir_fd=here)
    finally:
        os.close(here)
    try:
        _require_file(os.fstat(found))
    except OSError:
        os.close(found)
        raise
    return found


def _require_file(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise OSError("not a plain file")
