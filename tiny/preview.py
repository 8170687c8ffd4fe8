"""What a LoRA of one's own does: clips beside each other, as an animation and as a sheet."""

from collections.abc import Mapping
from pathlib import Path

from tiny.latents import FPS
from tiny.layout import EVERY, Frames, moments, rows
from tiny.measure.picture import views

COLUMNS = 6  # frames of a clip on a sheet
QUALITY = 80  # of the animation


def write(path: Path, clips: Mapping[str, Frames]) -> tuple[Path, Path]:
    """`path` with .webp, the clips side by side, and with .png, a row of frames of each, all under
    their names. ValueError for clips of different shapes, or none.
    """
    shapes = {frames.shape for frames in clips.values()}
    if len(shapes) != 1:
        raise ValueError(f"clips beside each other have one shape, not {sorted(shapes)}")
    count, height, width, _ = shapes.pop()
    animation, sheet = path.with_suffix(".webp"), path.with_suffix(".png")
    first, *others = moments(clips, columns=len(clips), size=(width, height), every=EVERY)
    first.save(
        animation,
        save_all=True,
        append_images=others,
        duration=round(1000 * EVERY / FPS),
        loop=0,
        quality=QUALITY,
    )
    at = views(count, COLUMNS)
    rows({name: frames[at] for name, frames in clips.items()}, size=(width, height)).save(sheet)
    return animation, sheet
