"""Whether a job can be done in the time the platform gives it, by the pace of the last jobs."""

import time
from collections import deque
from collections.abc import Callable

from ltx2.errors import DeadlineExceeded
from ltx2.progress import expected_work
from pipelines.plan import Plan

# Kept for answering: what is still running when the platform's own limit comes is thrown away.
RESERVE = 5.0  # seconds
REMEMBERED = 20  # jobs of a kind


class Deadline:
    """The moment until which a job may run; `seconds` from now, None for no limit."""

    def __init__(
        self, seconds: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._began = clock()

    @property
    def left(self) -> float:
        """Seconds until work must end so that it can still be answered."""
        if self.seconds is None:
            return float("inf")
        return self._began + self.seconds - min(RESERVE, self.seconds / 10) - self._clock()

    def check(self) -> None:
        """Raise DeadlineExceeded where the time is up."""
        if self.left <= 0:
            raise DeadlineExceeded(
                f"stopped before the job's execution timeout of {self.seconds:g} s; "
                "ask for less or give it more time"
            )


class Pace:
    """Seconds per unit of `expected_work`, measured on this worker's own jobs.

    Of the last jobs of a kind the fastest counts: a job is refused only where not even that pace
    would do.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], deque[float]] = {}

    def learn(self, plan: Plan, residency: str, seconds: float) -> None:
        """Note what a plan took, from its first stage to its file."""
        work = sum(expected_work(plan).values())
        known = self._seconds.setdefault((plan.mode, residency), deque(maxlen=REMEMBERED))
        known.append(seconds / work)

    def estimate(self, plan: Plan, residency: str) -> float | None:
        """Seconds that a plan takes at least; None where nothing like it was measured."""
        known = self._seconds.get((plan.mode, residency))
        return None if not known else min(known) * sum(expected_work(plan).values())

    def check(self, plan: Plan, residency: str, deadline: Deadline) -> None:
        """Raise DeadlineExceeded for a plan that cannot be done in time."""
        seconds = self.estimate(plan, residency)
        if seconds is None or seconds <= deadline.left:
            return
        raise DeadlineExceeded(
            f"{plan.width}x{plan.height} for {plan.duration:.1f} s in mode {plan.mode} takes about "
            f"{seconds:.0f} s here, and the job's execution timeout of {deadline.seconds:g} s "
            f"leaves {max(0.0, deadline.left):.0f}; give it more time, or ask for a shorter or "
            "smaller clip"
        )
