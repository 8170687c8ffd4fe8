"""How good a picture is: its likeness to another, how sharp its edges are, whether it moved."""

import math

import numpy as np
from numpy.typing import NDArray

from tiny.measure.picture import Floats, check, small, views
from tiny.measure.register import register

Bytes = NDArray[np.uint8]
VIEWS = 9  # frames of a clip that are looked at
EDGE = 0.15  # of brightness, the least difference across an edge
AROUND = 3  # pixels to each side, in which an edge is


def psnr(one: Bytes, other: Bytes) -> float:
    """Likeness of two pictures or clips of one shape in decibels; infinite if they are the same."""
    if one.shape != other.shape or one.dtype != np.uint8 or other.dtype != np.uint8:
        raise ValueError(
            f"PSNR compares uint8 of one shape, not {one.dtype} {one.shape}"
            f" with {other.dtype} {other.shape}"
        )
    error = float(((one.astype(np.float32) - other.astype(np.float32)) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def sharpness(frames: Bytes) -> float | None:
    """How sharp edges are: the steepest slope across an edge next to the edge's height, 1 for a
    step from one pixel to the next, 1 / n for one that takes n pixels; the mean over all edges of
    a clip, uint8 (n, h, w, 3). It does not depend on contrast. None without an edge.
    """
    check(frames)
    at = views(len(frames), VIEWS)
    images = frames[at].mean(-1, dtype=np.float32) / 255
    heights = _most(images) + _most(-images)
    slopes = np.zeros_like(images)
    down, across = np.abs(np.diff(images, axis=1)), np.abs(np.diff(images, axis=2))
    slopes[:, :-1] = down
    slopes[:, :, :-1] = np.maximum(slopes[:, :, :-1], across)
    edges = heights >= EDGE
    # Only the edge's own pixels: around it, a window shows the edge in part.
    edges &= slopes >= 0.999 * _most(slopes)
    if not edges.any():
        return None
    return float((slopes[edges] / heights[edges]).mean())


def steepness(frames: Bytes) -> float:
    """How steep a clip's slopes are, uint8 (n, h, w, 3): the mean slope, weighted by itself, in
    standard deviations of the brightness per pixel; 0 for frames of one colour. Other than
    `sharpness` it tells edges apart that are wider than a few pixels, and it depends on what the
    picture shows: it compares one clip's versions.
    """
    check(frames)
    at = views(len(frames), VIEWS)
    images = frames[at].mean(-1, dtype=np.float32) / 255
    slopes = np.hypot(*np.gradient(images, axis=(1, 2)))
    total, spread = float(slopes.sum()), float(images.std())
    return float((slopes**2).sum()) / total / spread if total and spread else 0.0


def _most(images: Floats) -> Floats:
    """The largest value around each pixel, of `AROUND` in each direction."""
    for axis in (1, 2):
        margins = [(0, 0)] * 3
        margins[axis] = (AROUND, AROUND)
        padded = np.pad(images, margins, mode="edge")
        size = images.shape[axis]
        shifted = [padded.take(np.arange(k, k + size), axis) for k in range(2 * AROUND + 1)]
        images = np.maximum.reduce(shifted)
    return images


def shift(one: Bytes, other: Bytes) -> tuple[float, float]:
    """How far content is moved in the second of two clips of one length and size, uint8
    (n, h, w, 3), next to the first: to the right and down in heights, the median over frames.
    """
    if one.shape != other.shape:
        raise ValueError(f"the shift is between clips of one shape, not {one.shape}, {other.shape}")
    at = views(len(one), VIEWS)
    first, second = small(one[at]).mean(-1), small(other[at]).mean(-1)
    moves = register(first, second, np.zeros((2, *first.shape), bool))
    return float(np.median(moves.x)), float(np.median(moves.y))
