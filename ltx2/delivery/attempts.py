"""Doing again what failed for a reason that may pass, without missing the word to stop."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ltx2.errors import Cancelled, DeliveryFailed
from ltx2.waiting import Stop

PAUSES = (1.0, 3.0, 8.0)  # seconds between four attempts
_SLICE_S = 0.1
Made = TypeVar("Made")


class Passing(Exception):
    """A failure that may be gone at the next attempt; the message is a sentence for the caller."""


def attempt(work: Callable[[], Made], *, stop: Stop, pauses: Sequence[float] = PAUSES) -> Made:
    """What `work` gives, tried again after each pause while it raises Passing.

    Raises DeliveryFailed with the last failure, Cancelled where `stop` says so, and everything else
    that `work` raises.
    """
    for pause in (*pauses, None):
        if stop():
            raise Cancelled("stopped while the clip was handed over")
        try:
            return work()
        except Passing as failure:
            if pause is None:
                raise DeliveryFailed(f"{failure}, {len(pauses) + 1} times") from failure
        _wait(pause, stop)
    raise AssertionError("the last attempt returns or raises")


def _wait(seconds: float, stop: Stop) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(min(_SLICE_S, seconds))
