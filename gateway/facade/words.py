"""From the words of `/v1/videos` to a form, and from a generation to their video object."""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field

from gateway.desk import Form
from gateway.offer_view import ModeOffer, Offer
from gateway.refusals import Problem, Problems
from gateway.states import Cancelled, Done, Failed, Generation, Status
from ltx2.request import Request, properties

# How far an edge may be from the asked one: 1280x720 is made at 1280x704, 1792x1024 at 1920x1088.
NEAR = math.log(1.1)
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
# Names of a model that hold for whichever is deployed.
ANY_MODEL = "ltx-2"
_OWN = ("prompt", "model", "seconds", "size", "input_reference")


class VideoError(BaseModel):
    """Why there is no video."""

    code: str
    message: str


class Video(BaseModel):
    """A generation in OpenAI's words; the fields from `width` on are ours, set once it is done."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100)
    created_at: int = Field(description="Seconds since 1970.")
    completed_at: int | None
    expires_at: int | None = None
    size: str
    seconds: str
    prompt: str
    remixed_from_video_id: str | None = None
    error: VideoError | None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    num_frames: int | None = None
    seed: int | None = None


class Videos(BaseModel):
    """Some videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """What was deleted."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


def form_of(given: Mapping[str, Any], offer: Offer, *, image: str | None) -> Form:
    """A form for the desk. `image` is the address of an input_reference. Raises Problems.

    What is no word of theirs is taken as a field of our own form, so that a seed can be given.
    """
    problems: list[Problem] = []
    form: dict[str, Any] = {name: value for name, value in given.items() if name not in _OWN}
    if "prompt" in given:
        form["prompt"] = given["prompt"]
    if (name := given.get("model")) is not None:
        form |= _model(name, offer, problems)
    if (seconds := given.get("seconds")) is not None:
        form["duration"] = _whole(seconds)
    if (size := given.get("size")) is not None:
        form |= _size(size, form, offer, problems)
    if image is not None:
        form["image"] = image
    if problems:
        raise Problems(problems)
    return form


def from_strings(given: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a multipart form, where everything is a text, as JSON has them.

    What cannot be read as its kind stays a text, for the desk to refuse by name.
    """
    return {name: _read(name, text) for name, text in given.items()}


def video(given: Generation, offer: Offer) -> Video:
    """A generation in their words."""
    form, output = given.form, given.output
    made = output if given.status == "completed" else None
    return Video(
        id=given.id,
        model=f"{form['model']}-{form['mode']}",
        status=_status(given.status),
        progress=_percent(given),
        created_at=int(given.created_at.timestamp()),
        completed_at=_completed(given),
        size=_size_of(given, offer),
        seconds=str(form["duration"]),
        prompt=str(form["prompt"]),
        error=_error(given),
        width=made.width if made else None,
        height=made.height if made else None,
        fps=made.fps if made else None,
        num_frames=made.num_frames if made else None,
        seed=made.seed if made else None,
    )


def _model(name: object, offer: Offer, problems: list[Problem]) -> dict[str, str]:
    """`ltx-2.3-pro` is model and mode; `ltx-2-pro` is the mode of whichever model is deployed."""
    names = {
        f"{each.id}-{mode.mode}": {"model": each.id, "mode": mode.mode}
        for each in reversed(offer.models)
        for mode in each.modes
    }
    modes = {mode.mode for each in offer.models for mode in each.modes}
    anyhow = {f"{ANY_MODEL}-{mode}": {"mode": mode} for mode in sorted(modes)}
    known = {**anyhow, **{each.id: {"model": each.id} for each in offer.models}, **names}
    if not isinstance(name, str) or name not in known:
        told = f"model must be one of {', '.join(known)}"
        problems.append(Problem(field="model", message=told, allowed=tuple(known)))
        return {}
    return known[name]


def _size(
    size: object, form: Mapping[str, Any], offer: Offer, problems: list[Problem]
) -> dict[str, str]:
    row = _mode_of(form, offer)
    sizes = {} if row is None else sizes_of(row)
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is not None:
        wide, high = int(found[1]), int(found[2])
        off = {text: _distance(text, wide, high) for text in sizes}
        nearest = min(off, key=lambda text: off[text], default=None)
        if nearest is not None and off[nearest] <= NEAR:
            resolution, shape = sizes[nearest]
            return {"resolution": resolution, "aspect_ratio": shape}
    told = f"size must be near one of {', '.join(sizes)}"
    problems.append(Problem(field="size", message=told, allowed=tuple(sizes)))
    return {}


def sizes_of(row: ModeOffer) -> dict[str, tuple[str, str]]:
    """Every size of a mode as theirs is written, with its resolution and shape."""
    return {
        f"{size[0]}x{size[1]}": (each.id, shape)
        for each in row.resolutions
        for shape, size in each.sizes.items()
    }


def _mode_of(form: Mapping[str, Any], offer: Offer) -> ModeOffer | None:
    default = offer.default
    model = offer.model(str(form.get("model", default.model)))
    return None if model is None else model.mode(str(form.get("mode", default.mode)))


def _distance(text: str, wide: int, high: int) -> float:
    width, _, height = text.partition("x")
    if not wide or not high:
        return math.inf
    return max(abs(math.log(int(width) / wide)), abs(math.log(int(height) / high)))


def _whole(seconds: object) -> object:
    """Their seconds are a text; what is no number is left for the desk to refuse."""
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 5:
        return int(seconds)
    return seconds


def _read(name: str, text: str) -> object:
    if "string" in _kinds().get(name, {"string"}):
        return text
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


@cache
def _kinds() -> Mapping[str, frozenset[str]]:
    """The JSON types of a request's fields; those of lists and objects as well."""
    props = properties(Request)
    return {
        name: frozenset(str(each.get("type")) for each in prop.get("anyOf", [prop]))
        for name, prop in props.items()
    }


def _status(status: Status) -> Literal["queued", "in_progress", "completed", "failed"]:
    """They know no fifth status: who canceled gets `failed` with the code `canceled`."""
    return "failed" if status == "canceled" else status


def _percent(given: Generation) -> int:
    if given.status == "completed":
        return 100
    progress = getattr(given.state, "progress", None)
    return 0 if progress is None else int(progress.percent)


def _completed(given: Generation) -> int | None:
    return int(given.state.at.timestamp()) if isinstance(given.state, Done) else None


def _error(given: Generation) -> VideoError | None:
    match given.state:
        case Failed(error=error, message=message):
            return VideoError(code=error, message=message)
        case Cancelled():
            return VideoError(code="canceled", message="It was canceled; the credits are back.")
        case _:
            return None


def _size_of(given: Generation, offer: Offer) -> str:
    """The size as it is, or as it will be where no picture says otherwise."""
    if given.output is not None:
        return f"{given.output.width}x{given.output.height}"
    row = _mode_of(given.form, offer)
    resolution = None if row is None else row.resolution(str(given.form.get("resolution")))
    if resolution is None:
        return "unknown"
    shape = str(given.form.get("aspect_ratio", "auto"))
    width, height = resolution.sizes.get(shape, resolution.sizes[offer.default.aspect_ratio])
    return f"{width}x{height}"
