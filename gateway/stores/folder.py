"""A store in a folder of this machine."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.stores import StoreFailed
from ltx2.delivery.kept import Kept
from ltx2.delivery.keys import METADATA, segment
from ltx2.delivery.store import record
from ltx2.errors import Ltx2Error
from ltx2.files import beside

EVERYTHING = 2**62  # bytes: nothing that was paid for is dropped for want of room


class FolderStore:
    """Files under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._clips = Kept(root / "videos", EVERYTHING)

    def find(self, generation_id: str) -> Mapping[str, Any] | None:
        """The worker's result of a video that is there whole; None where there is none."""
        found = self._clips.find(generation_id)
        return None if found is None else found["result"]

    def keep(self, generation_id: str, video: Path, result: Mapping[str, Any]) -> None:
        """Take a video and then the result that it came with."""
        try:
            self._clips.put(generation_id, video, record(result, ""), stop=lambda: False)
        except Ltx2Error as error:
            raise StoreFailed(str(error)) from error

    def video(self, generation_id: str, *, download_as: str, attach: bool = False) -> Path | str:
        """The file."""
        del download_as, attach
        return self._clips.path(generation_id)

    def put(self, folder: str, name: str, content: bytes, content_type: str) -> None:
        """Write a small file; it is there whole or not at all."""
        del content_type
        path = self._path(folder, name)
        with _told():
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside(path) as scratch:
                (scratch / "file").write_bytes(content)
                (scratch / "file").replace(path)

    def get(self, folder: str, name: str) -> bytes | None:
        """A small file; None where it is not there."""
        path = self._path(folder, name)
        with _told():
            return path.read_bytes() if path.is_file() else None

    def file(
        self, folder: str, name: str, *, download_as: str, attach: bool = False
    ) -> Path | str | None:
        """A small file; None where it is not there."""
        del download_as, attach
        path = self._path(folder, name)
        return path if path.is_file() else None

    def delete(self, folder: str) -> None:
        """A generation's or an upload's files, the record first."""
        with _told():
            clip = self._clips.path(folder).parent
            (clip / METADATA).unlink(missing_ok=True)
            for place in (clip, self._path(folder, "x").parent):
                if place.is_dir():
                    shutil.rmtree(place)

    def check(self) -> None:
        """Whether files can be written."""
        self.put("is-the-store-there", "probe", b"ltx2", "text/plain")
        self.delete("is-the-store-there")

    def _path(self, folder: str, name: str) -> Path:
        return self.root / "files" / segment(folder) / name


@contextmanager
def _told() -> Iterator[None]:
    """What the system refuses, in a sentence without paths."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"the folder of the gateway's files: {error.strerror or error}"
        ) from error
    except Ltx2Error as error:
        raise StoreFailed("the folder of the gateway's files cannot be written") from error
