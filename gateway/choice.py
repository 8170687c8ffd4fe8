"""Which row of the offer a form is of: model, mode, resolution, frame rate, length and shape.

A field that is refused rules nothing out: those after it are judged by all rows that are left, so
that every problem is told at once, and with what would be accepted for the rest of the form.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.offer_view import ModelOffer, ModeOffer, Offer, ResolutionOffer
from gateway.refusals import Problem
from ltx2.extent import PictureFacts
from ltx2.forms import shown
from ltx2.request import RESOLUTIONS

T = TypeVar("T", bound=Hashable)
CHOSEN = ("model", "mode", "resolution", "fps", "duration", "aspect_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One mode of a model at one resolution."""

    model: ModelOffer
    mode: ModeOffer
    resolution: ResolutionOffer


def choose(given: dict[str, Any], offer: Offer, problems: list[Problem]) -> Row:
    """The row that a form is of; what it leaves out is filled in. With a problem, one of those that
    agree with all that was not refused.
    """
    default, refused = offer.default, len(problems)
    rows = [
        Row(model=model, mode=mode, resolution=resolution)
        for model in offer.models
        for mode in model.modes
        for resolution in mode.resolutions
    ]
    given.setdefault("model", default.model)
    given.setdefault("fps", default.fps)
    rows = _narrowed(rows, lambda row: [row.model.id], "model", given, "here", problems)
    modes = _distinct(row.mode.mode for row in rows)
    given.setdefault("mode", default.mode if default.mode in modes else modes[0])
    where = f"for {rows[0].model.id}"
    rows = _narrowed(rows, lambda row: [row.mode.mode], "mode", given, where, problems)
    names = _distinct(row.resolution.id for row in rows)
    given.setdefault("resolution", default.resolution if default.resolution in names else names[0])
    where = _where(rows, resolution=False)
    rows = _narrowed(rows, lambda row: [row.resolution.id], "resolution", given, where, problems)
    rows = _narrowed(
        rows, lambda row: row.resolution.fps_durations, "fps", given, _where(rows), problems
    )
    rows = _with_length(rows, default.duration, given, problems)
    if any(each.field == "mode" for each in problems[refused:]):
        # What only a guided mode takes is no fault of a form whose mode is not known.
        return next((row for row in rows if row.mode.capabilities.guidance), rows[0])
    return rows[0]


def possible(row: Row, given: Mapping[str, Any], refused: set[str | None]) -> dict[str, Any]:
    """Rate, length and shape of a form on a row, with others of that row's for those refused."""
    lengths = row.resolution.fps_durations
    fps = next(iter(lengths)) if "fps" in refused else given["fps"]
    seconds = given.get("duration")
    return {
        "mode": row.mode.mode,
        "resolution": row.resolution.id,
        "fps": fps,
        "duration": lengths[fps][0] if "duration" in refused else seconds,
        "aspect_ratio": "auto" if "aspect_ratio" in refused else given["aspect_ratio"],
    }


def choose_shape(
    given: dict[str, Any],
    row: Row,
    facts: Mapping[str, PictureFacts],
    problems: list[Problem],
) -> None:
    """The frame's shape: as asked, or the picture's where the worker knows the resolution by name.

    A resolution that it does not know is asked for in pixels, so its shape is decided here.
    """
    shape = given.setdefault("aspect_ratio", "auto")
    resolution = row.resolution
    allowed = ("auto", *resolution.sizes)
    if not isinstance(shape, str) or shape not in allowed:
        known = not any(each.field == "resolution" for each in problems)
        where = f"at {resolution.id}" if known else "here"
        refuse(problems, "aspect_ratio", shape, allowed, where)
    elif shape == "auto" and resolution.id not in RESOLUTIONS:
        picture = next(iter(facts.values()), None)
        if picture is not None:  # else it is 16:9 there, and stays what was asked for
            given["aspect_ratio"] = nearest_shape(resolution, picture.width, picture.height)


def nearest_shape(resolution: ResolutionOffer, width: int, height: int) -> str:
    """The aspect ratio of the offer that is nearest to a frame's."""

    def distance(shape: str) -> float:
        wide, high = resolution.sizes[shape]
        return abs(math.log(wide / high * height / width))

    return min(resolution.sizes, key=distance)


def refuse(
    problems: list[Problem],
    field: str,
    value: object,
    allowed: Sequence[str | int],
    where: str,
) -> None:
    """A value that is none of those that would be accepted."""
    choices = ", ".join(map(str, allowed))
    told = f"{field} {shown(value)} is not available {where}; choose one of {choices}"
    problems.append(Problem(field=field, message=told, allowed=tuple(allowed)))


def _narrowed(
    rows: list[Row],
    takes: Callable[[Row], Iterable[str | int]],
    field: str,
    given: Mapping[str, Any],
    where: str,
    problems: list[Problem],
) -> list[Row]:
    """The rows that take a form's value; all of them where none does, which is a problem."""
    value = given[field]
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    found = [row for row in rows if plain and value in takes(row)]
    if not found:
        allowed = _distinct(each for row in rows for each in takes(row))
        refuse(problems, field, value, allowed, where)
    return found or rows


def _with_length(
    rows: list[Row], usual: int, given: dict[str, Any], problems: list[Problem]
) -> list[Row]:
    """Those with the form's length: at its frame rate, or at any where that was refused."""

    def lengths(row: Row) -> list[int]:
        table = row.resolution.fps_durations
        fps = given["fps"]
        known = not any(each.field == "fps" for each in problems)
        return list(table[fps]) if known else sorted({s for each in table.values() for s in each})

    if "duration" not in given:
        given["duration"] = min(lengths(rows[0]), key=lambda each: abs(each - usual))
    seconds = given["duration"]
    if isinstance(seconds, float) and seconds.is_integer():
        given["duration"] = int(seconds)
    return _narrowed(rows, lengths, "duration", given, _where(rows), problems)


def _where(rows: Sequence[Row], *, resolution: bool = True) -> str:
    """What the rows have in common, in words."""
    modes = {row.mode.mode for row in rows}
    sizes = {row.resolution.id for row in rows}
    words = [f"for {rows[0].mode.mode}"] if len(modes) == 1 else []
    words += [f"at {rows[0].resolution.id}"] if resolution and len(sizes) == 1 else []
    return " ".join(words) or "here"


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
