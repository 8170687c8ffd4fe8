"""From a worker's answer to a video in the store: taken where it lies, else fetched and checked."""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.states import Output
from gateway.stores import THUMBNAIL, Store, StoreFailed
from gateway.thumbnails import make_thumbnail
from ltx2.errors import DeliveryFailed
from ltx2.rest import ServiceError
from ltx2.saving import save

FETCH_SECONDS = 300.0  # for a video that is answered as a link


class Unfetched(Exception):
    """The video cannot be had now. It may be later: links expire, and stores come back."""


def stored(store: Store, generation_id: str) -> Output | None:
    """The video that is in the store already, whatever the worker answered; a still of it is made
    where there is none.

    Raises Unfetched where the store does not say.
    """
    try:
        result = store.find(generation_id)
    except StoreFailed as error:
        raise Unfetched(str(error)) from error
    if result is None:
        return None
    output = output_of(result)
    with suppress(StoreFailed):  # a list without a picture is no reason to keep anyone waiting
        _still(store, generation_id, output)
    return output


def take(store: Store, generation_id: str, result: Mapping[str, Any]) -> Output:
    """Have the video of a worker's result in the store, and a still of it.

    What the store has whole is the generation's video, even where the answer tells of another: two
    jobs of one generation may have made one each. Doing it again does no harm. Raises Unfetched.
    """
    known = stored(store, generation_id)
    if known is not None:
        return known
    if result.get("generation_id", generation_id) != generation_id:
        raise Unfetched("the worker's result is another generation's")
    output = output_of(result)
    try:
        with tempfile.TemporaryDirectory(prefix="ltx2-") as folder:
            video = save(result, Path(folder) / "video.mp4", timeout=FETCH_SECONDS)
            store.keep(generation_id, video, result)
            _still(store, generation_id, output)
    except (ServiceError, DeliveryFailed, StoreFailed) as error:
        raise Unfetched(str(error)) from error
    return output


def _still(store: Store, generation_id: str, output: Output) -> None:
    """Make the still of a video that is stored, once. Raises StoreFailed."""
    name = f"{generation_id}.jpg"
    if store.file(generation_id, THUMBNAIL, download_as=name) is None:
        video = store.video(generation_id, download_as=name)
        still = make_thumbnail(video, seconds=output.duration)
        if still is not None:
            store.put(generation_id, THUMBNAIL, still, "image/jpeg")


def output_of(result: Mapping[str, Any]) -> Output:
    """The facts of a result. Raises Unfetched for what is no result of a worker's."""
    try:
        return Output(
            content_type="video/mp4",
            width=int(result["width"]),
            height=int(result["height"]),
            fps=float(result["fps"]),
            num_frames=int(result["num_frames"]),
            duration=round(int(result["num_frames"]) / float(result["fps"]), 3),
            has_audio=bool(result["has_audio"]),
            seed=int(result["seed"]),
            prompt=str(result["prompt"]),
            bytes=int(result["bytes"]),
            sha256=str(result["sha256"]),
            warnings=tuple(str(each) for each in result.get("warnings") or ()),
            checkpoint=str(result["checkpoint"]) if result.get("checkpoint") else None,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Unfetched(f"the worker's result is not whole: {error!r}") from error
