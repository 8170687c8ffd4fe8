"""GPU pools: which of them hold a model, and what they cost. No torch."""

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

from ltx2.errors import ConfigError

PRIORITIES = 3  # pools that the platform looks at
# Older cards have neither fp8 nor the attention kernels of the newer ones; they are taken when they
# are named.
LEAST_CAPABILITY = 8.9
# A card's GB are GiB but for what its driver and error correction keep: 79.2 of an H100's 80.
USABLE = 0.99
MOST_DAYS = 30  # of a price that is told without a word about its age


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool: cards that are asked for by one name."""

    id: str
    cards: str
    gb: float  # memory of the smallest card
    capability: float  # of CUDA
    hour: float | None  # US dollars a worker and hour; of the dearest card

    def holds(self, gib: float) -> bool:
        """Whether every card of the pool has so much memory."""
        return self.gb * USABLE >= gib


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a checkpoint in some modes needs."""

    resident: float  # GiB of GPU memory with all parts on the GPU
    least: float  # GiB of GPU memory without the text encoder on it
    disk: int  # GB of a container that fetches the weights itself


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """A card as the live catalogue lists it."""

    id: str
    pool: str
    gb: float
    hour: float | None  # US dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Pools with the prices of one day, and the single cards where they are known."""

    pools: tuple[Pool, ...]
    date: datetime.date
    live: bool
    types: tuple[GpuType, ...] = ()

    @classmethod
    def of_table(cls) -> Self:
        """The list that comes with this package."""
        data = _table()
        rows = [{"hour": None, **row} for row in data["pool"]]
        return cls(pools=tuple(Pool(**row) for row in rows), date=data["date"], live=False)

    def updated(self, catalogue: object, *, today: datetime.date) -> Self:
        """The same with what the live catalogue says. Raises ConfigError where it says nothing."""
        types = tuple(_types(catalogue))
        if not types:
            raise ConfigError("the live catalogue lists no GPU with a pool")
        pools: list[Pool] = []
        for pool in self.pools:
            cards = [card for card in types if card.pool == pool.id]
            hours = [card.hour for card in cards if card.hour is not None]
            # A pool that is not listed is not offered: an old price for it would be a guess.
            pools.append(replace(pool, hour=max(hours, default=None)))
        return replace(self, pools=tuple(pools), date=today, live=True, types=types)

    def pool(self, name: str) -> Pool | None:
        """A pool by its id."""
        return next((pool for pool in self.pools if pool.id == name), None)

    def chosen(self, need: Need) -> list[str]:
        """The cheapest pools whose every card holds all parts of a model."""
        fit = [
            pool
            for pool in self.pools
            if pool.capability >= LEAST_CAPABILITY
            and pool.hour is not None
            and pool.holds(need.resident)
        ]
        fit.sort(key=lambda pool: pool.hour or 0.0)
        return [pool.id for pool in fit[:PRIORITIES]]

    def too_small(self, pools: Sequence[str], gib: float) -> list[str]:
        """Cards of these pools that have less memory, as slices of a card do."""
        return sorted(
            {card.id for card in self.types if card.pool in pools and card.gb * USABLE < gib}
        )

    def age(self, *, today: datetime.date) -> str:
        """Where the prices come from and how old they are."""
        if self.live:
            return f"prices asked of RunPod on {self.date}"
        days = (today - self.date).days
        old = f", {days} days old: ask RunPod for those of today" if days > MOST_DAYS else ""
        return f"prices of RunPod's documentation of {self.date}{old}"


def need_of(checkpoint: str, modes: str) -> Need | None:
    """What a named checkpoint needs in `fast`, `pro` or `all`; None for any other checkpoint."""
    data = _table()
    row = data["need"].get(checkpoint)
    if row is None:
        return None
    lora = data["lora"]["gib"] if modes != "fast" and checkpoint != "tiny" else 0.0
    return Need(resident=row["resident"] + lora, least=row["least"] + lora, disk=row["disk"][modes])


def checkpoints() -> list[str]:
    """The checkpoints whose needs are known."""
    return list(_table()["need"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("gpus.toml").read_text(encoding="utf-8"))


def _types(catalogue: object) -> list[GpuType]:
    """The cards of a catalogue: a list, or an object that holds one."""
    if isinstance(catalogue, Mapping):
        lists = [v for v in cast("Mapping[str, object]", catalogue).values() if isinstance(v, list)]
        catalogue = cast("object", lists[0]) if len(lists) == 1 else None
    found: list[GpuType] = []
    for entry in cast("list[object]", catalogue) if isinstance(catalogue, list) else []:
        match entry:
            case {"id": str(name), "pool": str(pool), "memory": int() | float() as gb, **more}:
                price = cast("Mapping[str, object]", more).get("price")
                hour = price.get("serverless") if isinstance(price, dict) else None
                known = float(hour) if isinstance(hour, int | float) and hour > 0 else None
                found.append(GpuType(id=name, pool=pool, gb=float(gb), hour=known))
            case _:
                continue  # a card that no serverless pool has
    return found
