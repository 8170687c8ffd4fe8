"""How one picture has to be moved and zoomed to lie on another, to a fraction of a pixel.

Gauss-Newton on the brightness, from coarse to fine. Pictures that are compared have to be less than
half a period of their texture apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiny.measure.picture import Floats, blur, grown, sample

LEVELS = ((4, 6), (2, 4), (1, 2))  # how many times smaller, and steps there
# Of the mean curvature, added to each direction's: what a direction without structure (along
# stripes) says is noise, and is answered with no motion.
DAMPING = 0.02
ZOOM_SCALE = 0.4  # heights from the middle, where zoom and motion weigh the same
OUTLIER = 2.5  # mean differences, beyond which a pixel is something else
FEWEST = 0.1  # of the pixels to compare, for a pair to agree at all


@dataclass(frozen=True, kw_only=True, slots=True)
class Moves:
    """Of each of n pairs: content at u in the first is at `zoom` u + (x, y) in the second, from
    the frame's middle. `agreement` is how alike they are then: 1 the same, 0 nothing in common.
    """

    x: Floats  # (n,) heights
    y: Floats  # (n,) heights
    zoom: Floats  # (n,)
    agreement: Floats  # (n,)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """Pictures (n, h, w) at one scale, their slopes in heights, and 1 where a pixel counts."""

    image: Floats
    slopes: tuple[Floats, Floats]  # along x and y
    counts: Floats


def register(first: Floats, second: Floats, ignore: NDArray[np.bool_]) -> Moves:
    """Pairs of pictures (n, h, w), 0 to 1, with what to ignore in each: bool (2, n, h, w)."""
    state = np.zeros((len(first), 3), np.float32)  # x and y in heights, the zoom's logarithm
    agreement = np.zeros(len(first), np.float32)
    for times, steps in LEVELS:
        begin, end = (_level(*pair, times) for pair in ((first, ignore[0]), (second, ignore[1])))
        for _ in range(steps):
            state, agreement = _step(begin, end, state)
    x, y, zoom = state[:, 0], state[:, 1], np.exp(state[:, 2])
    return Moves(x=x, y=y, zoom=zoom, agreement=agreement)


def _level(images: Floats, ignore: NDArray[np.bool_], times: int) -> _Level:
    """The pictures so many times smaller. What is ignored is first filled with the frame's mean,
    so that blurring spreads none of it.
    """
    kept = ~ignore
    mean = (images * kept).sum((1, 2)) / np.maximum(kept.sum((1, 2)), 1)
    images = np.where(ignore, mean[:, None, None], images).astype(np.float32)
    high, wide = images.shape[1] // times, images.shape[2] // times
    blocks = (len(images), high, times, wide, times)
    images = images[:, : high * times, : wide * times].reshape(blocks).mean((2, 4))
    hidden = ignore[:, : high * times, : wide * times].reshape(blocks).any((2, 4))
    images = blur(images, 1)
    down, across = np.gradient(images, axis=(1, 2))
    return _Level(
        image=images,
        slopes=(across * high, down * high),
        counts=(~grown(hidden, 1)).astype(np.float32),
    )


def _step(begin: _Level, end: _Level, state: Floats) -> tuple[Floats, Floats]:
    """A better state (n, 3), and the agreement (n,) at the one before."""
    _, high, wide = begin.image.shape
    x = ((np.arange(wide, dtype=np.float32) + 0.5) - wide / 2) / high
    y = ((np.arange(high, dtype=np.float32) + 0.5) - high / 2) / high
    zoom = np.exp(state[:, 2:])
    columns = (zoom * x + state[:, :1]) * high + (wide - 1) / 2
    rows = (zoom * y + state[:, 1:2]) * high + (high - 1) / 2
    inside = ((columns >= 0) & (columns <= wide - 1))[:, None, :]
    inside = inside & ((rows >= 0) & (rows <= high - 1))[:, :, None]
    moved = sample(end.image, rows, columns)
    weight = begin.counts * inside * (sample(end.counts, rows, columns) > 0.99)
    total = np.maximum(weight.sum((1, 2)), 1)

    def mean(values: Floats) -> Floats:
        return ((values * weight).sum((1, 2)) / total)[:, None, None]

    one, two = begin.image - mean(begin.image), moved - mean(moved)
    power = mean(one * one) * mean(two * two)
    agreement = (mean(one * two) / np.sqrt(np.maximum(power, 1e-12)))[:, 0, 0]
    agreement = np.where(total > FEWEST * high * wide, agreement, 0).astype(np.float32)
    # Slopes of both sides, averaged: the steps then end where neither noise pulls to zero.
    across, down = (
        (mine + sample(theirs, rows, columns)) / 2
        for mine, theirs in zip(begin.slopes, end.slopes, strict=True)
    )
    radial = (across * x + down * y[:, None]) / ZOOM_SCALE
    slopes = np.stack((across, down, radial), -1)
    wrong = two - one
    robust = weight * (np.abs(wrong) <= OUTLIER * mean(np.abs(wrong)) + 1e-4)
    curvature = np.einsum("nhwi,nhwj,nhw->nij", slopes, slopes, robust, optimize=True)
    pull = np.einsum("nhwi,nhw->ni", slopes, wrong * robust, optimize=True)
    extra = DAMPING * np.trace(curvature, axis1=1, axis2=2)[:, None, None] / 3 + 1e-6
    change = np.linalg.solve(curvature + extra * np.eye(3), pull[:, :, None])[:, :, 0]
    change[:, 2] /= ZOOM_SCALE
    return (state - change.clip(-0.2, 0.2)).astype(np.float32), agreement
