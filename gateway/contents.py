"""A finished video or its still, as routes answer it: a file of the store's, or a link to it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gateway.api.reception import Content, Elsewhere, Stored, Variant
from gateway.refusals import NotFound, Unavailable
from gateway.states import Cancelled, Failed, Generation, Output
from gateway.stores import THUMBNAIL, Store, StoreFailed

PIECE = 256 * 1024  # bytes of a file that are read at once


def found_content(
    store: Store, generation: Generation, output: Output, variant: Variant, download: bool
) -> Content:
    """The file of a generation that has an `output`. Raises NotFound, Unavailable."""
    try:
        if variant == "video":
            name = f"{generation.id}.mp4"
            video = store.video(generation.id, download_as=name, attach=download)
            return _content(video, name, tag=output.sha256)
        name = f"{generation.id}.jpg"
        found = store.file(generation.id, THUMBNAIL, download_as=name, attach=download)
    except StoreFailed as error:
        raise Unavailable("the video cannot be read now; try again in a moment") from error
    if found is None:
        raise NotFound("this video has no thumbnail")
    return _content(found, name, tag=f"still-{output.sha256}")


def _content(place: Path | str, name: str, *, tag: str) -> Content:
    """A place of the store's as routes answer it. Raises NotFound where its file is gone."""
    if isinstance(place, str):
        return Elsewhere(url=place)
    try:
        size = place.stat().st_size
    except OSError as error:
        raise NotFound("the file is not there any more") from error
    return Stored(
        size=size,
        read=partial(_pieces, place),
        content_type="video/mp4" if name.endswith(".mp4") else "image/jpeg",
        name=name,
        tag=tag,
    )


def _pieces(path: Path, start: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(PIECE, length))):
            length -= len(piece)
            yield piece


def without_video(generation: Generation) -> str:
    """Why a generation without an output has no video, in a sentence."""
    match generation.state:
        case Failed() | Cancelled():
            return f"this generation is {generation.status}: it has no video"
        case _:
            return f"this generation is {generation.status}: its video is not there yet"
