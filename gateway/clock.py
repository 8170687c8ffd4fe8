"""The time as the gateway sees it: UTC, and whatever a test says."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where every moment comes from that is stored or compared."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime.now(UTC)
