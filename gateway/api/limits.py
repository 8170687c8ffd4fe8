"""How often an account, or an address that has no account, may call: token buckets in memory.

Each process counts for itself: behind several, a caller gets as many times the rate.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.refusals import Limited

MOST_KEPT = 10_000  # buckets; those used longest ago go, and would have been full by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`burst` calls at once, refilled at `per_minute`."""

    per_minute: int
    burst: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """A bucket for each name. Safe from any thread. `clock` counts seconds."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._kept: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Count a call. Raises Limited, with the seconds until one is taken again."""
        second = self._rate.per_minute / 60
        with self._lock:
            now = self._clock()
            bucket = self._kept.pop(name, None) or _Bucket(float(self._rate.burst), now)
            refilled = bucket.tokens + max(0.0, now - bucket.at) * second
            bucket.tokens, bucket.at = min(float(self._rate.burst), refilled), now
            self._kept[name] = bucket
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            if bucket.tokens < 1.0:
                wait = math.ceil((1.0 - bucket.tokens) / second)
                raise Limited(
                    f"Too many calls: {self._rate.per_minute} a minute are taken. "
                    f"Try again in {wait} s.",
                    kind="rate",
                    retry_after=wait,
                )
            bucket.tokens -= 1.0


class Seats:
    """How many of something an account may hold at once; `told` says it where all are taken."""

    def __init__(self, most: int, told: str) -> None:
        self._most = most
        self._told = told
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def seat(self, name: str) -> Iterator[None]:
        """Hold one. Raises Limited where all are taken."""
        with self._lock:
            taken = self._taken.get(name, 0)
            if taken >= self._most:
                raise Limited(self._told, kind="concurrency", retry_after=5)
            self._taken[name] = taken + 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[name] -= 1
                if not self._taken[name]:
                    del self._taken[name]
