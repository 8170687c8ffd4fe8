"""Files that appear whole: a place beside the one that is asked for; and the hash of a file."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltx2.errors import DeliveryFailed


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, so that the finished file only has to be renamed.

    Gone afterwards. Raises DeliveryFailed where nothing can be written there.
    """
    try:
        if path.is_dir():
            raise DeliveryFailed(f"cannot write {path}: it is a folder; name a file in it")
        # Not named after `path`: a name that just fits, which counts in bytes, would not with more.
        folder = tempfile.TemporaryDirectory(prefix=".ltx2-", dir=path.absolute().parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    with folder as name:
        yield Path(name)


def cannot_write(path: Path, error: OSError) -> DeliveryFailed:
    """The refusal of a place that the system refuses."""
    return DeliveryFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}")


def digest_of(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
