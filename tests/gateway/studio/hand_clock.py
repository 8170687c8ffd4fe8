"""A clock that goes when a test says so."""

from datetime import UTC, datetime, timedelta
from threading import Lock


class HandClock:
    """Call `now`; `advance` by seconds."""

    def __init__(self):
        self._now = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
        self._lock = Lock()

    def now(self):
        with self._lock:
            return self._now

    def advance(self, seconds):
        with self._lock:
            self._now += timedelta(seconds=seconds)
