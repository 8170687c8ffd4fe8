"""What an endpoint costs while it works, while it waits and while it sleeps. No torch."""

import datetime
from collections.abc import Sequence
from typing import Any

from ltx2.deploy.pools import PriceList


def cost(
    pools: Sequence[str], prices: PriceList, *, min_workers: int, today: datetime.date
) -> dict[str, Any]:
    """US dollars for each pool: an hour of one worker, and a minute, in which it executes or idles.

    The start of a worker, execution and idling are billed alike; a worker that is scaled down is
    not billed.
    """
    rows: list[dict[str, Any]] = []
    for name in pools:
        pool = prices.pool(name)
        hour = None if pool is None else pool.hour
        rows.append(
            {
                "pool": name,
                "cards": None if pool is None else pool.cards,
                "hour": hour,
                "execution_minute": None if hour is None else round(hour / 60, 4),
                "idle_minute": None if hour is None else round(hour / 60, 4),
                "day_of_min_workers": None if hour is None else round(24 * hour * min_workers, 2),
            }
        )
    return {
        "currency": "USD",
        "live": prices.live,
        "date": prices.date.isoformat(),
        "source": prices.age(today=today),
        "min_workers": min_workers,
        "pools": rows,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    told = [f"cost of a worker, {found['source']}:"]
    for row in found["pools"]:
        if row["hour"] is None:
            told.append(f"  {row['pool']}: no price is known")
            continue
        told.append(
            f"  {row['pool']} ({row['cards']}): ${row['hour']:.2f}/h; a minute of execution or of "
            f"idling ${row['execution_minute']:.3f}"
        )
    if found["min_workers"]:
        days = [row["day_of_min_workers"] for row in found["pools"] if row["hour"] is not None]
        if days:
            told.append(
                f"  {found['min_workers']} worker(s) always there: "
                f"${min(days):.2f} to ${max(days):.2f} a day"
            )
    else:
        told.append("  scaled down to no worker: nothing")
    return told
