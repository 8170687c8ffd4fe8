"""Clips beside each other, as an animation and as a sheet of frames."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiny.latents import FPS
from tiny.measure.picture import views

Frames = NDArray[np.uint8]  # (n, height, width, 3)
COLUMNS = 6  # frames of a clip on a sheet
GAP, TITLE = 4, 14  # pixels
PAPER, INK = (255, 255, 255), (30, 30, 30)
EVERY = 2  # frames of a clip for one of the animation
QUALITY = 80  # of the animation


def write(path: Path, clips: Mapping[str, Frames]) -> tuple[Path, Path]:
    """`path` with .webp, the clips side by side, and with .png, a row of frames of each, all under
    their names. ValueError for clips of different shapes, or none.
    """
    shapes = {frames.shape for frames in clips.values()}
    if len(shapes) != 1:
        raise ValueError(f"clips beside each other have one shape, not {sorted(shapes)}")
    (count, *_) = shapes.pop()
    animation, sheet = path.with_suffix(".webp"), path.with_suffix(".png")
    moments = [_row(clips, [index]) for index in range(0, count, EVERY)]
    duration = round(1000 * EVERY / FPS)
    moments[0].save(
        animation,
        save_all=True,
        append_images=moments[1:],
        duration=duration,
        loop=0,
        quality=QUALITY,
    )
    shown = views(count, COLUMNS).tolist()
    rows = [_row({name: frames}, shown) for name, frames in clips.items()]
    _stacked(rows).save(sheet)
    return animation, sheet


def _row(clips: Mapping[str, Frames], shown: list[int]) -> Image.Image:
    """Some frames of every clip from left to right, each clip with its name above."""
    height, width = next(iter(clips.values())).shape[1:3]
    across = len(clips) * len(shown)
    row = Image.new("RGB", (across * (width + GAP) - GAP, TITLE + height), PAPER)
    pen = ImageDraw.Draw(row)
    for place, (name, frames) in enumerate(clips.items()):
        left = place * len(shown) * (width + GAP)
        pen.text((left + 2, 1), name, fill=INK)
        for column, index in enumerate(shown):
            row.paste(Image.fromarray(frames[index]), (left + column * (width + GAP), TITLE))
    return row


def _stacked(rows: list[Image.Image]) -> Image.Image:
    """Rows of one width on top of each other."""
    whole = Image.new("RGB", (rows[0].width, sum(row.height + GAP for row in rows) - GAP), PAPER)
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height + GAP
    return whole
