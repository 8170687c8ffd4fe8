"""Camera moves of one's own, each written in a line: `x:-0.3..0.3 zoom:1..1.4 roll:0..-30`."""

import math
import re
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

# What a camera can do: x and y in heights of the frame, to the right and down; how many times it
# enlarges; degrees that it leans to the right. Each at rest, at least and at most.
AXES: dict[str, tuple[float, float, float]] = {
    "x": (0.0, -1.0, 1.0),
    "y": (0.0, -1.0, 1.0),
    "zoom": (1.0, 0.5, 2.0),
    "roll": (0.0, -180.0, 180.0),
}
MOST_POINTS = 7  # of an axis: a clip of 49 frames has so many latent frames
PRESETS = {
    "roll_left": "roll:0..-30",
    "roll_right": "roll:0..30",
    "diagonal": "x:-0.25..0.25 y:0.15..-0.15",
    "push_and_pull": "zoom:0.8..1.3..0.8",
    "corkscrew": "zoom:0.8..1.25 roll:-20..20",
}
GRAMMAR = (
    "axes are x and y (-1 to 1 heights of the frame, to the right and down), zoom (0.5 to 2) and "
    f"roll (-180 to 180 degrees, to the right), each with 1 to {MOST_POINTS} points, evenly spaced "
    "in time: 'x:-0.3..0.3 zoom:1..1.5..1'"
)


class MoveError(ValueError):
    """A description that is no move; its text names every problem and what is accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A camera's way: along each axis the points that it passes, evenly spaced in time."""

    x: tuple[float, ...] = (0.0,)
    y: tuple[float, ...] = (0.0,)
    zoom: tuple[float, ...] = (1.0,)
    roll: tuple[float, ...] = (0.0,)  # degrees to the right

    @classmethod
    def parse(cls, text: str) -> Self:
        """The move of a description or of a name in `PRESETS`. Raises MoveError."""
        found: dict[str, tuple[float, ...]] = {}
        problems: list[str] = []
        for part in PRESETS.get(text.strip(), text).split():
            axis, _, written = part.partition(":")
            points = [_number(point) for point in written.split("..")]
            if axis not in AXES:
                problems.append(f"{part!r} has no axis that is known")
            elif axis in found:
                problems.append(f"{axis} is said twice")
            else:
                problems += _problems(axis, part, points)
            found[axis] = tuple(point for point in points if point is not None)
        if not problems and all(len(set(points)) == 1 for points in found.values()):
            problems.append("nothing changes over the clip")
        if problems:
            raise MoveError(
                f"no camera move is {text!r}: {'; '.join(problems)}; accepted are "
                f"{', '.join(PRESETS)}, or axes with points; {GRAMMAR}"
            )
        return cls(**found)

    def __str__(self) -> str:
        """The description of it: `Move.parse` reads it back."""
        said = []
        for field in fields(self):
            points = getattr(self, field.name)
            if set(points) != {AXES[field.name][0]}:
                said.append(f"{field.name}:{'..'.join(f'{point:g}' for point in points)}")
        return " ".join(said)

    def at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and zoom at each time, each of `time`'s shape. A zoom grows at a constant rate."""
        logarithms = tuple(math.log(zoom) for zoom in self.zoom)
        return _along(self.x, time), _along(self.y, time), _along(logarithms, time).exp()

    def lean(self, time: Tensor) -> Tensor:
        """How far it leans to the right, in radians, of `time`'s shape."""
        return _along(self.roll, time).deg2rad()

    def share(self, of: float) -> Self:
        """A camera that starts as this one and makes so much of its way; less than 0: backwards."""

        def scaled(points: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(points[0] + of * (point - points[0]) for point in points)

        first = self.zoom[0]
        zoom = tuple(first * (point / first) ** of for point in self.zoom)
        return replace(self, x=scaled(self.x), y=scaled(self.y), zoom=zoom, roll=scaled(self.roll))


def _number(written: str) -> float | None:
    return float(written) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", written) else None


def _problems(axis: str, part: str, points: list[float | None]) -> list[str]:
    _, least, most = AXES[axis]
    if None in points:
        return [f"{part!r} has a point that is no number"]
    if len(points) > MOST_POINTS:
        return [f"{axis} has {len(points)} points, more than {MOST_POINTS}"]
    outside = [f"{point:g}" for point in points if not least <= (point or 0.0) <= most]
    return [f"{axis} {', '.join(outside)} is not within {least:g} to {most:g}"] if outside else []


def _along(points: tuple[float, ...], time: Tensor) -> Tensor:
    """The way through the points at each time, of `time`'s shape."""
    if len(points) == 1:
        return torch.full_like(time, points[0])
    legs = len(points) - 1
    way = torch.full_like(time, points[0])
    for index, (begin, end) in enumerate(pairwise(points)):
        way = way + (end - begin) * (time * legs - index).clamp(0, 1)
    return way
