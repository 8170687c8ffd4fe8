"""What came of each setting as a row, a table and a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.scaling.simulate import Outcome

WIDTH, HEIGHT, LEFT, GAP = 900, 120, 60, 36  # pixels of one setting's drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars a second of a worker; `always` that of one that always runs."""

    flex: float
    always: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def row(outcome: Outcome, prices: Prices) -> dict[str, object]:
    """The figures of one setting; seconds and dollars."""
    waits = [job.began - job.arrived for job in outcome.jobs]
    totals = [job.ended - job.arrived for job in outcome.jobs]
    billed = {
        kind: sum(worker.billed[kind] for worker in outcome.workers)
        for kind in ("starting", "busy", "idle")
    }
    cost = sum(
        sum(worker.billed.values()) * (prices.always if worker.always else prices.flex)
        for worker in outcome.workers
    )
    return {
        "setting": outcome.rules.name,
        "clips": len(waits),
        "wait_mean": sum(waits) / len(waits),
        **{f"wait_p{p}": percentile(waits, p / 100) for p in (50, 95, 99)},
        "total_p95": percentile(totals, 0.95),
        "starts": sum(worker.starts for worker in outcome.workers),
        "most_workers": max(entry[1] for entry in outcome.timeline),
        "billed_starting": billed["starting"],
        "billed_busy": billed["busy"],
        "billed_idle": billed["idle"],
        "cost": cost,
        "cost_per_clip": cost / len(waits),
    }


def table(rows: Sequence[dict[str, object]]) -> str:
    """The rows as a Markdown table."""
    head = list(rows[0])
    shown = [[_cell(name, each[name]) for name in head] for each in rows]
    lines = [" | ".join(head), "|".join("-" for _ in head)]
    lines += [" | ".join(cells) for cells in shown]
    return "\n".join(f"| {line} |" if "-|" not in line else f"|{line}|" for line in lines)


def _cell(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if name == "cost_per_clip" else f"{value:.2f}"
    return str(value)


def picture(outcomes: Sequence[Outcome]) -> str:
    """An SVG: for each setting its workers, those of them that are ready, and who waits."""
    tall = len(outcomes) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 20}" height="{tall}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    longest = max(outcome.seconds for outcome in outcomes) or 1.0
    for index, outcome in enumerate(outcomes):
        parts += _drawn(outcome, GAP + index * (HEIGHT + GAP), longest)
    return "\n".join([*parts, "</svg>\n"])


def _drawn(outcome: Outcome, top: int, longest: float) -> list[str]:
    most = max(max(entry[1:]) for entry in outcome.timeline) or 1
    base = top + HEIGHT

    def steps(column: int) -> str:
        points: list[str] = []
        height = base
        for entry in outcome.timeline:
            x = LEFT + WIDTH * entry[0] / longest
            points.append(f"{x:.1f},{height:.1f}")
            height = base - HEIGHT * entry[column] / most
            points.append(f"{x:.1f},{height:.1f}")
        points.append(f"{LEFT + WIDTH * outcome.seconds / longest:.1f},{height:.1f}")
        return " ".join(points)

    words = (
        f"{outcome.rules.name}: workers billed (grey), ready (green), requests waiting (red),"
        f" 0 to {most}; {outcome.seconds / 3600:.1f} h"
    )
    lines = [f'<text x="{LEFT}" y="{top - 8}">{escape(words)}</text>']
    lines.append(f'<path d="M{LEFT},{top}V{base}H{LEFT + WIDTH}" fill="none" stroke="black"/>')
    for column, colour in ((1, "#999999"), (2, "#2a8a3e"), (3, "#c0392b")):
        lines.append(f'<polyline points="{steps(column)}" fill="none" stroke="{colour}"/>')
    return lines
