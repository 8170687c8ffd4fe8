"""The last finished clips on this machine's disk, so that nothing finished is lost.

In the layout of a store. A folder appears whole or not at all, so that processes may share it.
"""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ltx2.delivery.keys import METADATA, VIDEO, segment
from ltx2.delivery.store import clip_bytes, decode_record, encode_record
from ltx2.errors import Cancelled, DeliveryFailed
from ltx2.waiting import Stop

logger = logging.getLogger(__name__)
CHUNK = 2**20  # bytes between two questions whether to stop
STALE_SECONDS = 3600.0  # after this a half folder belongs to nobody who still runs
_PARTIALS = ".partial"
_THERE = (errno.EEXIST, errno.ENOTEMPTY)  # a name that is taken


class Kept:
    """Clips in `folder`, up to `max_bytes` together; the oldest go first, and 0 keeps none."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def path(self, generation_id: str) -> Path:
        """Where the clip is, if it is kept."""
        return self.folder / segment(generation_id) / VIDEO

    def link(self, generation_id: str) -> str:
        """The file's URL, good on this machine."""
        return self.path(generation_id).absolute().as_uri()

    def find(self, generation_id: str) -> dict[str, Any] | None:
        """The record of a clip that is there with the size it should have."""
        video = self.path(generation_id)
        try:
            found = decode_record(video.with_name(METADATA).read_bytes())
            size = video.stat().st_size
        except OSError:
            return None
        return found if found is not None and clip_bytes(found) == size else None

    def put(
        self, generation_id: str, video: Path, metadata: Mapping[str, Any], *, stop: Stop
    ) -> None:
        """Keep a clip: as a second name of its file where that can be, else as a copy.

        Nothing is kept of a clip that is larger than all that may be. Raises DeliveryFailed where
        the disk refuses, Cancelled where `stop` says so.
        """
        text = encode_record(metadata)
        name = segment(generation_id)
        try:
            if video.stat().st_size > self.max_bytes:
                return
            with self._partial() as partial:
                _link_or_copy(video, partial / VIDEO, stop)
                (partial / METADATA).write_bytes(text)
                self._move_in(partial, self.folder / name)
            self._evict(keep=name)
        except OSError as error:
            raise DeliveryFailed(
                f"the clip cannot be kept on disk: {(error.strerror or str(error)).lower()}"
            ) from error

    def _move_in(self, partial: Path, place: Path) -> None:
        """Give a finished folder its name; what had it before goes."""
        for _ in range(100):
            try:
                partial.rename(place)
            except OSError as error:
                if error.errno not in _THERE:
                    raise
            else:
                return
            # The old one leaves as a whole, so that nobody reads half of two. Another process may
            # be first with either step; then there is another round.
            old = partial.with_name(f"{partial.name}-old")
            with suppress(FileNotFoundError):
                place.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        raise OSError(f"{place.name} is written by others all the time")

    def _evict(self, *, keep: str) -> None:
        """Drop the oldest clips beyond the limit, and half folders that nobody fills any more."""
        folders: list[tuple[float, int, Path]] = []
        for folder in self.folder.iterdir():
            if folder.name == _PARTIALS:
                continue
            with suppress(OSError):  # another process evicts, too
                size = sum(file.stat().st_size for file in folder.iterdir())
                folders.append(((folder / METADATA).stat().st_mtime, size, folder))
        total = sum(size for _, size, _ in folders)
        for _, size, folder in sorted(folders):
            if total <= self.max_bytes:
                break
            if folder.name != keep:
                self._drop(folder)
                total -= size
        for partial in (self.folder / _PARTIALS).iterdir():
            with suppress(OSError):
                if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(partial, ignore_errors=True)

    def _drop(self, folder: Path) -> None:
        """Take a clip away as a whole."""
        with suppress(FileNotFoundError), self._partial() as partial:
            folder.rename(partial / folder.name)

    @contextmanager
    def _partial(self) -> Iterator[Path]:
        """A folder beside the kept ones, on the same disk; gone afterwards unless it was moved."""
        home = self.folder / _PARTIALS
        home.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=home))
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _link_or_copy(source: Path, target: Path, stop: Stop) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        with source.open("rb") as read, target.open("wb") as write:
            while chunk := read.read(CHUNK):
                if stop():
                    raise Cancelled("stopped while the clip was kept") from None
                write.write(chunk)
