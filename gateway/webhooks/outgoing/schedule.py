"""When a webhook is tried again, and when its receiver is given up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# Seconds before each try, counted from the one before: at once, then 28 hours in growing steps.
PAUSES: Final[tuple[int, ...]] = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
TRY_SECONDS = 15.0  # for one try, from the look-up of the name to the status
DISABLED_AFTER = timedelta(days=5)  # of failures only
GONE = 410  # a receiver that wants no more


@dataclass(frozen=True, slots=True)
class Again:
    """Another try is due."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No further try; whoever wants it asks for it to be delivered once more."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """The receiver gets nothing more until its owner sets it up again; `why` is for its owner."""

    why: str


Outcome = Again | GivenUp | Taken | Disabled


def outcome(
    status: int | None, *, tries: int, now: datetime, failing_since: Callable[[], datetime]
) -> Outcome:
    """What follows from a try.

    `status` is what the receiver answered, None where it did not; only 2xx is success, so that a
    redirect, which could lead anywhere, is a failure. `tries` counts this one. `failing_since` is
    asked when all tries are over, so that one bad day after a quiet week disables nobody: the first
    event that the receiver did not take since it last took one.
    """
    if status is not None and 200 <= status < 300:
        return Taken()
    if status == GONE:
        return Disabled("the receiver answered 410: it wants no more")
    if tries < len(PAUSES):
        return Again(now + timedelta(seconds=PAUSES[tries]))
    if now - failing_since() >= DISABLED_AFTER:
        return Disabled(f"the receiver took nothing for {DISABLED_AFTER.days} days")
    return GivenUp()
