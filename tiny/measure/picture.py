"""Frames as arrays: checked, made smaller, and read between their pixels."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 for pictures, since they are many
ROWS = 96  # about the shorter side of a frame that recognisers look at; more shows no more


def check(frames: NDArray[np.uint8]) -> None:
    """ValueError unless these are frames: uint8 (n, height, width, 3), at least one, 32 pixels."""
    problems = []
    if frames.ndim != 4 or frames.shape[-1] != 3:
        problems.append(f"shape {frames.shape}")
    elif frames.shape[0] < 1 or min(frames.shape[1:3]) < 32:
        problems.append(f"{frames.shape[0]} frames of {frames.shape[2]}x{frames.shape[1]}")
    if frames.dtype != np.uint8:
        problems.append(f"{frames.dtype}")
    if problems:
        raise ValueError(
            f"frames have {', '.join(problems)}; wanted is uint8 (n, height, width, 3)"
            " of at least 32x32 pixels"
        )


def views(count: int, most: int) -> NDArray[np.intp]:
    """Which of `count` frames are looked at: at most `most`, evenly spaced, both ends included."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.intp)


def factor(frames: NDArray[np.uint8]) -> int:
    """How many times smaller a recogniser looks at these frames."""
    return max(1, round(min(frames.shape[1:3]) / ROWS))


def small(frames: NDArray[np.uint8]) -> Floats:
    """The frames at about `ROWS`, 0 to 1; what does not fill a pixel at the right and the lower
    edge is left out.
    """
    check(frames)
    times = factor(frames)
    if times == 1:
        return frames.astype(np.float32) / 255
    high, wide = frames.shape[1] // times, frames.shape[2] // times
    total = np.zeros((len(frames), high, wide, 3), np.uint32 if times > 16 else np.uint16)
    for row in range(times):
        for column in range(times):
            total += frames[:, row : high * times : times, column : wide * times : times]
    return total.astype(np.float32) / (255 * times * times)


def sample(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """Images (n, h, w) read at every pair of rows (n, H) and columns (n, W), in pixels and between
    them: (n, H, W). Outside, the edge goes on.
    """
    low, part = _between(rows, images.shape[1])
    upper = np.take_along_axis(images, low[:, :, None], 1)
    lower = np.take_along_axis(images, low[:, :, None] + 1, 1)
    images = upper + part[:, :, None] * (lower - upper)
    low, part = _between(columns, images.shape[2])
    left = np.take_along_axis(images, low[:, None, :], 2)
    right = np.take_along_axis(images, low[:, None, :] + 1, 2)
    return left + part[:, None, :] * (right - left)


def _between(places: Floats, size: int) -> tuple[NDArray[np.intp], Floats]:
    """The pixel before each place, and how far the place is beyond it."""
    places = places.clip(0, size - 1)
    low = np.minimum(places.astype(np.intp), size - 2)
    return low, (places - low).astype(np.float32)


def blur(images: Floats, radius: int) -> Floats:
    """Images (n, h, w) averaged twice over squares of 2 radius + 1, close to a Gaussian."""
    for axis in (1, 2, 1, 2):
        images = _mean(images, radius, axis)
    return images


def _mean(images: Floats, radius: int, axis: int) -> Floats:
    width = 2 * radius + 1
    margins = [(0, 0)] * 3
    margins[axis] = (radius + 1, radius)
    # In float64, since a running sum loses digits.
    total = np.pad(images, margins, mode="edge").cumsum(axis, dtype=np.float64)
    size = images.shape[axis]
    after, before = np.arange(width, width + size), np.arange(size)
    return ((total.take(after, axis) - total.take(before, axis)) / width).astype(np.float32)


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """A mask (n, h, w) with everything that is so near to it, in rows and columns."""
    for axis in (1, 2):
        wider = mask.copy()
        for step in range(1, pixels + 1):
            towards = [slice(None)] * 3
            source = [slice(None)] * 3
            towards[axis], source[axis] = slice(step, None), slice(None, -step)
            wider[tuple(towards)] |= mask[tuple(source)]
            wider[tuple(source)] |= mask[tuple(towards)]
        mask = wider
    return mask
