"""Where videos and pictures lie: a Protocol over a folder of this machine and an S3 bucket."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

THUMBNAIL = "thumbnail.jpg"
PICTURES: Mapping[str, str] = {"image/jpeg": "picture.jpg", "image/png": "picture.png"}


class StoreFailed(Exception):
    """The store did not do it; it may the next time."""


class Store(Protocol):
    """Finished videos by generation, as the worker's own store has them (`gen_…/video.mp4` and,
    written last, `gen_…/metadata.json`), and small files beside them. Calls block, and raise
    StoreFailed.
    """

    def find(self, generation_id: str) -> Mapping[str, Any] | None:
        """The worker's result of a video that is there whole; None where there is none."""
        ...

    def keep(self, generation_id: str, video: Path, result: Mapping[str, Any]) -> None:
        """Take a video and then the result that it came with."""
        ...

    def video(self, generation_id: str, *, download_as: str, attach: bool = False) -> Path | str:
        """The file, or an address that is good for minutes and downloads under a name; browsers
        show what is there, and with `attach` they save it.
        """
        ...

    def put(self, folder: str, name: str, content: bytes, content_type: str) -> None:
        """Write a small file; it is there whole or not at all."""
        ...

    def get(self, folder: str, name: str) -> bytes | None:
        """A small file; None where it is not there."""
        ...

    def file(
        self, folder: str, name: str, *, download_as: str, attach: bool = False
    ) -> Path | str | None:
        """As `video`, for a small file; None where it is not there."""
        ...

    def delete(self, folder: str) -> None:
        """A generation's or an upload's files, the record first, so that nobody takes what is left
        for a whole video. Nothing happens where there is nothing.
        """
        ...

    def check(self) -> None:
        """Whether it can be used."""
        ...
