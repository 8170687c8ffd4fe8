"""What a generated clip suffers from, done to true clips: how recognisers are put to the test."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiny.measure.picture import blur

Frames = NDArray[np.uint8]  # (n, height, width, 3)


def blurred(frames: Frames) -> Frames:
    """Averaged over 3x3 pixels, twice."""
    channels = np.moveaxis(frames, -1, 0).astype(np.float32)
    return _bytes(np.stack([blur(channel, 1) for channel in channels], -1))


def noisy(frames: Frames, draw: np.random.Generator) -> Frames:
    """With noise of 14 of 255 in every pixel, 25 dB."""
    return _bytes(frames + draw.normal(0, 14, frames.shape))


def compressed(frames: Frames) -> Frames:
    """Each frame as a JPEG of low quality."""
    worn = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=20)
        worn.append(np.asarray(Image.open(file)))
    return np.stack(worn)


def tinted(frames: Frames, draw: np.random.Generator) -> Frames:
    """Each channel brighter or darker by up to 6 %, and lifted or lowered by up to 10 of 255."""
    return _bytes(frames * draw.uniform(0.94, 1.06, 3) + draw.uniform(-10, 10, 3))


def ghosted(frames: Frames) -> Frames:
    """A quarter of every frame is what was there four frames ago."""
    ago = frames[np.maximum(np.arange(len(frames)) - 4, 0)]
    return _bytes(0.75 * frames + 0.25 * ago)


def worn(frames: Frames, draw: np.random.Generator) -> Frames:
    """Everything at once, milder noise."""
    frames = tinted(blurred(ghosted(frames)), draw)
    return compressed(_bytes(frames + draw.normal(0, 7, frames.shape)))


def _bytes(values: NDArray[np.floating]) -> Frames:
    return values.round().clip(0, 255).astype(np.uint8)


WEARS: dict[str, Callable[[Frames, np.random.Generator], Frames]] = {
    "none": lambda frames, _: frames,
    "blurred": lambda frames, _: blurred(frames),
    "noisy": noisy,
    "compressed": lambda frames, _: compressed(frames),
    "tinted": tinted,
    "ghosted": lambda frames, _: ghosted(frames),
    "all": worn,
}
