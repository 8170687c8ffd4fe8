"""A part's training as a picture: what was minimised and what was measured, by the step."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 640, 360, 48
INK, GRID, PAPER = (32, 33, 36), (222, 224, 228), (255, 255, 255)
COLOURS = (
    (31, 119, 180),
    (214, 96, 20),
    (44, 140, 60),
    (170, 50, 60),
    (120, 90, 170),
    (110, 110, 110),
    (20, 150, 160),
    (150, 130, 20),
)
_NOT_DRAWN = ("step", "seconds")


def rows(log: Path) -> list[dict[str, float]]:
    """A log's rows; of steps that were done twice, the last."""
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [row for _, row in sorted({row["step"]: row for row in found}.items())]


def draw(title: str, found: Sequence[Mapping[str, float]]) -> Image.Image:
    """Every number of the rows over their steps, on a logarithmic scale."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    names = [
        name
        for name in dict.fromkeys(key for row in found for key in row)
        if name not in _NOT_DRAWN and any(row.get(name, 0) > 0 for row in found)
    ]
    values = [row[name] for row in found for name in names if row.get(name, 0) > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    last = found[-1]["step"]

    def place(step: float, value: float) -> tuple[float, float]:
        across = MARGIN + (WIDTH - 180 - MARGIN) * step / last
        part = (math.log10(value) - low) / max(1, high - low)
        return across, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * part

    for power in range(low, high + 1):
        pen.line((place(0, 10.0**power), place(last, 10.0**power)), fill=GRID)
        pen.text((6, place(0, 10.0**power)[1] - 6), f"{10.0**power:g}", fill=INK)
    for index, name in enumerate(names):
        colour = COLOURS[index % len(COLOURS)]
        points = [place(row["step"], row[name]) for row in found if row.get(name, 0) > 0]
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        text = f"{name} {next(row[name] for row in reversed(found) if name in row):.3g}"
        pen.text((WIDTH - 172, MARGIN + 15 * index), text, fill=colour)
    hours = found[-1].get("seconds", 0) / 3600
    pen.text((MARGIN, 14), f"{title}: {last:.0f} steps, {hours:.1f} h", fill=INK)
    pen.text((MARGIN, HEIGHT - MARGIN + 8), "0", fill=INK)
    pen.text((WIDTH - 210, HEIGHT - MARGIN + 8), f"{last:.0f} steps", fill=INK)
    return image


def write(folder: Path, name: str) -> Path | None:
    """`curve.png` beside a part's log; None before its first row."""
    log = folder / name / "log.jsonl"
    if not log.exists():
        return None
    path = folder / name / "curve.png"
    draw(name, rows(log)).save(path)
    return path
