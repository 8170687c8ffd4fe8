"""How much of a camera's move is in a clip: the part whose undoing leaves the ground most still, or
a thing that is at rest.

A move of any kind will do, also one that turns the picture or comes back.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tiny import world
from tiny.measure import things
from tiny.measure.picture import blur, grown, small, views
from tiny.moves import Move

VIEWS = 13  # frames that are looked at
SHARES = tuple(round(0.05 * index, 2) for index in range(-10, 31))  # that are tried
NEAR = 3  # pixels around a thing that are not ground
AGREE = 0.7  # how alike the ground of two frames is at least, once the move is undone
TEXTURED = 0.008  # of brightness, the least standard deviation of a textured ground
ASTRAY = 0.06  # heights that a thing at rest strays at most, once the move is undone
SHOWN = (
    0.015  # heights that it is moved at least by what was made, or by the rest of the move, to tell
)
# Heights that the ground moves between two compared frames, at most: beyond half a period of a
# texture it looks as if it had moved less.
FARTHEST = 0.4 * world.PERIOD


def made(frames: NDArray[np.uint8], move: Move) -> float | None:
    """The share of the move that a clip (n, h, w, 3) makes: 1 all, 0 none, -0.5 half of it
    backwards. None where it cannot be told: a plain ground, or frames with little in common.
    """
    if len(frames) < 2:
        return None
    at = views(len(frames), VIEWS)
    time = torch.from_numpy(at / (len(frames) - 1)).float()
    taken = grown(things.labels(frames)[at] != things.NOTHING, NEAR)
    images = torch.from_numpy(blur(small(frames[at]).mean(-1), 1))
    free = torch.from_numpy(~taken).float()
    if not free.any() or _spread(images, free) < TEXTURED:
        return None
    gap = _gap(move, time, images.shape[2] / images.shape[1])
    alike = [_alike(images, free, move.share(share), time, gap) for share in SHARES]
    best = int(np.argmax(alike))
    if alike[best] < AGREE:
        return None
    return _peak(alike)


def made_at_rest(frames: NDArray[np.uint8], move: Move) -> float | None:
    """The same of a scene in which nothing but the camera moves: where the ground does not tell,
    the main thing does. None also where there is none, or where the move leaves it in its place.
    """
    ground = made(frames, move)
    thing = things.main(things.labels(frames))
    at = None if thing is None else things.clear(thing)
    if ground is not None or thing is None or at is None:
        return ground
    strays = [_strays(thing, at, move.share(share)) for share in SHARES]
    best = int(np.argmin(strays))
    told = max(strays[SHARES.index(0.0)], strays[SHARES.index(1.0)]) - strays[best] >= SHOWN
    return _peak([-each for each in strays]) if told and strays[best] <= ASTRAY else None


def _strays(thing: things.Track, at: NDArray[np.intp], move: Move) -> float:
    """How far a thing strays in the world, and its edge by its size, once the move is undone: the
    root of the mean square in heights.
    """
    time = torch.from_numpy(at / (len(thing.x) - 1)).float()
    u, v = (torch.from_numpy(each[at]).float()[:, None, None] for each in (thing.x, thing.y))
    x, y = world.in_world(move, time, u, v)
    size = torch.from_numpy(thing.area[at]).float().sqrt() / move.at(time)[2]
    return sum(each.var(correction=0).item() for each in (x, y, size)) ** 0.5


def _peak(values: Sequence[float]) -> float:
    """The share at which values for `SHARES` are highest, between two of them."""
    best = int(np.argmax(values))
    if best in (0, len(SHARES) - 1):
        return SHARES[best]
    before, top, after = values[best - 1 : best + 2]
    curve = before - 2 * top + after
    beside = 0.5 * (before - after) / curve if curve else 0.0
    return SHARES[best] + beside * (SHARES[1] - SHARES[0])


def _spread(images: Tensor, free: Tensor) -> float:
    """The ground's standard deviation of brightness."""
    return images[free > 0].std().item()


def _grid(height: float, width: float, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Places (rows, columns) of a picture of this size in heights from its middle."""
    v = ((torch.arange(rows) + 0.5) / rows - 0.5) * height
    u = ((torch.arange(columns) + 0.5) / columns - 0.5) * width
    return u.expand(rows, columns), v[:, None].expand(rows, columns)


def _carried(move: Move, begin: Tensor, end: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Where the ground at (u, v) of the frames at `begin` (n,) is at `end`: (n, h, w) each."""
    x, y = world.in_world(move, begin, u[None], v[None])
    return world.on_screen(move, end, x, y)


def _gap(move: Move, time: Tensor, aspect: float) -> int:
    """How many views apart two compared frames may be."""
    u, v = _grid(1.0, aspect, 2, 2)
    for gap in range(len(time) // 3, 1, -1):
        x, y = _carried(move, time[:-gap], time[gap:], u, v)
        if torch.hypot(x - u, y - v).max() <= FARTHEST:
            return gap
    return 1


def _alike(images: Tensor, free: Tensor, move: Move, time: Tensor, gap: int) -> float:
    """How alike the ground of views `gap` apart is with the move undone: 1 the same."""
    rows, columns = images.shape[1:]
    u, v = _grid(1.0, columns / rows, rows, columns)
    x, y = _carried(move, time[:-gap], time[gap:], u, v)
    places = torch.stack((2 * x * rows / columns, 2 * y), dim=-1)
    later = torch.stack((images[gap:], free[gap:]), dim=1)
    moved = F.grid_sample(later, places, align_corners=False)
    counts = free[:-gap] * (moved[:, 1] > 0.99)
    total = counts.sum(dim=(1, 2)).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return ((values * counts).sum(dim=(1, 2)) / total)[:, None, None]

    one, two = images[:-gap], moved[:, 0]
    one, two = one - mean(one), two - mean(two)
    power = (mean(one * one) * mean(two * two)).clamp(min=1e-12).sqrt()
    return (mean(one * two) / power).mean().item()
