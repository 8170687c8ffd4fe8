"""Whether a job can be done in the time the platform gives it, by the pace of the last jobs."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from ltx2.errors import DeadlineExceeded
from ltx2.progress import expected_work
from pipelines.plan import Plan

# Kept for answering: what is still running when the platform's own limit comes is thrown away.
RESERVE = 5.0  # seconds
REMEMBERED = 20  # jobs of a kind
# How many times the work of a job that was measured a clip may have to be foretold from it. Steps
# of a small clip wait for other things than its pixels, and say little of a large one.
REACH = 8.0


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

    Of the last jobs of a kind that were not much smaller the fastest counts: a job is refused only
    where not even that pace would do.
    """

    def __init__(self) -> None:
        self._measured: dict[tuple[str, str], deque[tuple[float, float]]] = {}  # work, seconds

    def learn(self, plan: Plan, residency: str, timings: Mapping[str, float]) -> None:
        """Note what a plan took: `timings` are the seconds of its stages, of which those count that
        grow with the clip. A part that was loaded or a picture that was fetched is no pace.
        """
        expected = expected_work(plan)
        seconds = sum(timings.get(stage, 0.0) for stage in expected)
        known = self._measured.setdefault((plan.mode, residency), deque(maxlen=REMEMBERED))
        known.append((sum(expected.values()), seconds))

    def estimate(self, plan: Plan, residency: str) -> float | None:
        """Seconds that a plan takes at least; None where nothing like it was measured."""
        asked = sum(expected_work(plan).values())
        known = self._measured.get((plan.mode, residency), ())
        paces = [seconds / work for work, seconds in known if asked <= REACH * work]
        return asked * min(paces) if paces else None

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
