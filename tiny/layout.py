"""Clips and pictures laid out beside each other under their names, as small WebP files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiny.latents import FPS

Frames = NDArray[np.uint8]  # (n, height, width, 3)
LIMIT = 500_000  # bytes of a file: a page with several of them must load
QUALITIES = (85, 70, 55, 40, 25)  # of a file, the best that is small enough
EVERY = 2  # frames of a clip for one of an animation
GAP, TITLE = 6, 18  # pixels
PAPER, INK = (255, 255, 255), (32, 33, 36)


class TooLarge(ValueError):
    """A picture that is not small enough at any quality."""


def grid(pictures: Mapping[str, Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in rows of `columns`, each with its name above."""
    width, height = next(iter(pictures.values())).size
    rows = -(-len(pictures) // columns)
    size = (columns * (width + GAP) - GAP, rows * (TITLE + height + GAP) - GAP)
    whole = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for place, (name, picture) in enumerate(pictures.items()):
        left = place % columns * (width + GAP)
        top = place // columns * (TITLE + height + GAP)
        pen.text((left + 1, top + 1), name, fill=INK, font=font)
        whole.paste(picture, (left, top + TITLE))
    return whole


def animated(
    path: Path, clips: Mapping[str, Frames], *, columns: int, size: tuple[int, int], every: int
) -> Path:
    """Clips as one animation, each shown at `size`, width and height."""
    pictures = moments(clips, columns=columns, size=size, every=every)
    return save(path, pictures, frame_seconds=every / FPS)


def moments(
    clips: Mapping[str, Frames], *, columns: int, size: tuple[int, int], every: int
) -> list[Image.Image]:
    """Every so many frames of all clips, at one time each; of clips of other lengths, the last
    frame stays.
    """
    count = max(len(frames) for frames in clips.values())
    return [
        grid(
            {
                name: shown(frames[min(index, len(frames) - 1)], size)
                for name, frames in clips.items()
            },
            columns,
        )
        for index in range(0, count, every)
    ]


def strips(
    path: Path, clips: Mapping[str, Sequence[NDArray[np.uint8]]], *, size: tuple[int, int]
) -> Path:
    """Some frames of each clip as one still picture, each shown at `size`."""
    return save(path, [rows(clips, size=size)])


def rows(clips: Mapping[str, Sequence[NDArray[np.uint8]]], *, size: tuple[int, int]) -> Image.Image:
    """Some frames of each clip in a row of its own."""
    drawn = {}
    for name, frames in clips.items():
        row = Image.new("RGB", (len(frames) * (size[0] + GAP) - GAP, size[1]), PAPER)
        for place, frame in enumerate(frames):
            row.paste(shown(frame, size), (place * (size[0] + GAP), 0))
        drawn[name] = row
    return grid(drawn, 1)


def shown(frame: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """A frame at a size."""
    picture = Image.fromarray(frame)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def save(path: Path, moments: Sequence[Image.Image], *, frame_seconds: float = 1.0) -> Path:
    """A still picture or an animation as WebP, in the best quality that is below `LIMIT`.

    Raises TooLarge, leaving what was there, where none is.
    """
    working = path.with_suffix(".new.webp")
    for quality in QUALITIES:
        moments[0].save(
            working,
            quality=quality,
            method=4,
            save_all=len(moments) > 1,
            append_images=moments[1:],
            duration=round(1000 * frame_seconds),
            loop=0,
        )
        if working.stat().st_size < LIMIT:
            working.replace(path)
            return path
    working.unlink()
    raise TooLarge(f"{path} is not below {LIMIT} bytes at any quality; show less in it")
