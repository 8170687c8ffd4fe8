"""A clip out of a worker's answer into a file: decoded or fetched, checked, then in its place."""

import base64
import binascii
import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltx2.errors import MediaRefused
from ltx2.files import beside, cannot_write
from ltx2.media.download import fetching
from ltx2.rest import ServiceError

CHUNK = 256 * 1024  # bytes
TRIES = 3
PAUSE = 1.0  # seconds between two tries
REFUSED = (400, 401, 403, 404, 410)  # what stores answer to a link that is over


def save(result: Mapping[str, Any], path: Path, *, timeout: float) -> Path:
    """Write the clip of a result to `path`. `timeout` is in seconds, for all of a link.

    The file appears whole, with the length and the sha256 that the result names, or not at all.
    Raises ServiceError, and DeliveryFailed for a place that cannot be written.
    """
    count, sha256 = result.get("bytes"), result.get("sha256")
    if not isinstance(count, int) or not isinstance(sha256, str):
        raise ServiceError("the result names no bytes and sha256, so no clip can be checked")
    inline, url = result.get("video"), result.get("video_url")
    if isinstance(inline, str):
        tries, pieces = 1, lambda: _decoded(inline)
    elif isinstance(url, str) and url.startswith(("http://", "https://")):
        until = time.monotonic() + timeout
        tries, pieces = TRIES, lambda: _fetched(url, until)
    elif isinstance(url, str):
        place = url.partition("?")[0][:200]
        raise ServiceError(f"the clip lies at {place}, where only the store's own keys reach it")
    else:
        raise ServiceError("the result holds neither video nor video_url")
    with beside(path) as folder:
        try:
            part = folder / "clip"
            for tried in range(1, tries + 1):
                try:
                    _write(pieces(), part, count, sha256)
                    break
                except MediaRefused as error:
                    if tried == tries:
                        raise ServiceError(str(error)) from None
                    time.sleep(PAUSE)
            part.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error
    return path


def check_place(path: Path) -> None:
    """Raise DeliveryFailed where no clip could be written to `path`, before one is paid for."""
    with beside(path):
        return


def _write(pieces: Iterator[bytes], part: Path, count: int, sha256: str) -> None:
    """Write the pieces; raises ServiceError unless they are the clip that was announced."""
    digest, written = hashlib.sha256(), 0
    with part.open("wb") as file:
        for piece in pieces:
            written += len(piece)
            if written > count:
                break
            digest.update(piece)
            file.write(piece)
    if written != count:
        more = "more than the" if written > count else f"{written:,} of"
        raise ServiceError(f"the clip has {more} {count:,} bytes that its result names")
    if digest.hexdigest() != sha256.lower():
        raise ServiceError("the clip is not the one of its result: its sha256 differs")


def _decoded(text: str) -> Iterator[bytes]:
    try:
        yield base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ServiceError("the video of the result is no base64") from None


def _fetched(url: str, until: float) -> Iterator[bytes]:
    """The body behind a link. It may lead anywhere: the caller's own worker gave it, and what is
    not the announced clip is thrown away. No key is sent there, and errors leave out its query.
    """
    left = max(0.0, until - time.monotonic())
    with fetching(url, name="video_url", timeout_s=left, allow_private=True) as answer:
        if answer.status in REFUSED:
            raise ServiceError(
                f"the clip's link is answered with {answer.status}: links live for a limited time; "
                "the same input with the same generation_id is answered with a new one"
            )
        answer.refuse_unless_whole()
        while piece := answer.read(CHUNK):
            yield piece
