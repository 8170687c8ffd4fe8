"""How much of a camera's move is in a clip: the part whose undoing leaves the ground most still.

A move of any kind will do, also one that turns the picture or comes back.
"""

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
    if best in (0, len(SHARES) - 1):
        return SHARES[best]
    before, top, after = alike[best - 1 : best + 2]
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
