"""When requests come, in seconds from the start: from a file, or made up from a seed."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DAY = 86_400.0
KINDS = {
    "file": {"path"},
    "poisson": {"per_hour", "hours"},
    "daily": {"per_hour", "hours", "swing", "peak_hour"},
    "burst": {"per_hour", "hours", "size", "every_hours"},
}


def read(data: Mapping[str, Any], chance: random.Random, folder: Path) -> list[float]:
    """The arrivals that a configuration asks for. Raises ValueError for what it cannot mean."""
    kind = data.get("kind")
    if kind not in KINDS:
        raise ValueError(f"[arrivals] kind must be one of {', '.join(KINDS)}; got {kind!r}")
    options = {name: value for name, value in data.items() if name != "kind"}
    if set(options) != KINDS[kind]:
        raise ValueError(
            f"[arrivals] of kind {kind} has {', '.join(sorted(KINDS[kind]))}; got {sorted(options)}"
        )
    if kind == "file":
        return from_file(folder / options["path"])
    makers = {"poisson": poisson, "daily": daily, "burst": burst}
    return makers[kind](chance, **options)


def from_file(path: Path) -> list[float]:
    """One number a line, seconds from any moment; the first becomes 0."""
    try:
        times = sorted(float(line) for line in path.read_text().split())
    except ValueError as error:
        raise ValueError(f"{path}: one number of seconds a line; {error}") from error
    if not times:
        raise ValueError(f"{path} holds no arrival")
    return [time - times[0] for time in times]


def poisson(chance: random.Random, per_hour: float, hours: float) -> list[float]:
    """Requests that know nothing of one another."""
    times: list[float] = []
    now = chance.expovariate(per_hour / 3600)
    while now < hours * 3600:
        times.append(now)
        now += chance.expovariate(per_hour / 3600)
    return times


def daily(
    chance: random.Random, per_hour: float, hours: float, swing: float, peak_hour: float
) -> list[float]:
    """The same with a rate that swings over the day: `per_hour` on average, (1 + swing) of it at
    the peak, swing from 0 to 1. Drawn at the peak's rate and thinned.
    """
    if not 0 <= swing <= 1:
        raise ValueError(f"[arrivals] swing must be 0 to 1; got {swing}")

    def share(now: float) -> float:
        angle = 2 * math.pi * (now - peak_hour * 3600) / DAY
        return (1 + swing * math.cos(angle)) / (1 + swing)

    return [
        now
        for now in poisson(chance, per_hour * (1 + swing), hours)
        if chance.random() < share(now)
    ]


def burst(
    chance: random.Random, per_hour: float, hours: float, size: int, every_hours: float
) -> list[float]:
    """Poisson, and `size` more at once every so often, as of a campaign or a batch."""
    moments = [k * every_hours * 3600 for k in range(1, math.ceil(hours / every_hours))]
    return sorted([*poisson(chance, per_hour, hours), *(m for m in moments for _ in range(size))])
