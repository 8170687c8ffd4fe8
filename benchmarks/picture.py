"""A picture of where a clip's time goes: a bar a way, its stages in a row, and the floor.

Each clip has a scale of its own: what is compared are the bars within it.
"""

from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR, GAP = 900, 190, 18, 8  # pixels
COLOURS = {
    "load": "#b0b0b0",
    "prompt": "#8172b3",
    "condition": "#937860",
    "base": "#4c72b0",
    "upsample": "#64b5cd",
    "refine": "#55a868",
    "round": "#da8bc3",
    "detail": "#8c8c8c",
    "sound": "#ccb974",
    "decode+encode": "#dd8452",
    "prompt to latents": "#4c72b0",
}


def drawn(results: list[dict[str, Any]]) -> str:
    """An SVG of every clip that was measured; a line of words where there is none."""
    parts: list[str] = []
    top = 30
    clips = [result for result in results if result.get("floor_seconds")]
    if not clips:
        parts.append(_text(10, top, "No clip has been measured yet."))
        top += 20
    for result in clips:
        top = _clip(parts, result, top)
    used = {name for result in clips for row in result["rows"] for name in row["stages"]}
    top = _legend(parts, [name for name in COLOURS if name in used], top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{top}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _clip(parts: list[str], result: dict[str, Any], top: int) -> int:
    """One clip's bars; where the next begins."""
    card = result["card"]
    changed = f" with {card['changed']}" if card.get("changed") else ""
    title = f"{card['scenario']}{changed} on {card['device']}, weights {card['weights']}"
    parts.append(_text(10, top, f"{title}, commit {card['commit']}", bold=True))
    top += 10
    scale = (WIDTH - LEFT - 90) / max(row["seconds"]["median"] for row in result["rows"])
    bars = [
        (row["name"], {name: each["median"] for name, each in row["stages"].items()},
         row["seconds"]["median"])
        for row in result["rows"]
    ]  # fmt: skip
    floor = result["floor_seconds"]
    bars.append(("arithmetic floor", floor, sum(floor.values())))
    for name, stages, total in bars:
        parts.append(_text(10, top + BAR - 5, name))
        x = float(LEFT)
        for stage, seconds in stages.items():
            width = seconds * scale
            parts.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{BAR}" '
                f'fill="{COLOURS.get(stage, "#444444")}"><title>{escape(stage)} '
                f"{seconds:.4g} s</title></rect>"
            )
            x += width
        parts.append(_text(round(x) + 6, top + BAR - 5, f"{total:.4g} s"))
        top += BAR + GAP
    return top + 26


def _legend(parts: list[str], names: list[str], top: int) -> int:
    x = 10
    for name in names:
        parts.append(
            f'<rect x="{x}" y="{top - 10}" width="12" height="12" fill="{COLOURS[name]}"/>'
        )
        parts.append(_text(x + 16, top, name))
        x += 30 + 8 * len(name)
    return top + 20


def _text(x: int, y: int, words: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{weight}>{escape(words)}</text>'
