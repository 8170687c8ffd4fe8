"""The endpoint, event by event. Times are seconds from the first moment of the trace."""

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.scaling.rules import Rules
from benchmarks.scaling.times import Times

State = Literal["starting", "idle", "busy", "off"]
Kind = Literal["arrival", "overdue", "ready", "done", "idle"]


@dataclass(slots=True)
class Worker:
    """A worker and the seconds it was billed for, by what it did."""

    always: bool
    state: State = "off"
    since: float = 0.0
    starts: int = 0
    billed: dict[str, float] = field(
        default_factory=lambda: {"starting": 0.0, "busy": 0.0, "idle": 0.0}
    )

    def turn(self, state: State, now: float) -> None:
        """Bill what was and begin what is."""
        if self.state != "off":
            self.billed[self.state] += now - self.since
        self.state, self.since = state, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request's moments and who did it."""

    arrived: float
    began: float
    ended: float
    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a trace under some rules."""

    rules: Rules
    jobs: tuple[Job, ...]  # in the order of their arrival
    workers: tuple[Worker, ...]
    seconds: float  # until the last worker had nothing left to do
    # (time, workers billed, of these ready or busy, requests waiting), at each change
    timeline: tuple[tuple[float, int, int, int], ...]


def simulate(
    arrivals: Sequence[float], rules: Rules, service: Times, cold: Times, flash: Times, seed: int
) -> Outcome:
    """Serve a trace, first come first served, until all is done and what was started has ended.

    A job's seconds depend on the seed and its place in the trace alone, so that rules are compared
    on the same work.
    """
    return _Endpoint(arrivals, rules, service, cold, flash, seed).run()


class _Endpoint:
    def __init__(
        self,
        arrivals: Sequence[float],
        rules: Rules,
        service: Times,
        cold: Times,
        flash: Times,
        seed: int,
    ) -> None:
        self.rules = rules
        self.arrivals = sorted(arrivals)
        # Texts, so that no one else's generator of this seed draws the same numbers.
        work = random.Random(f"work {seed}")
        self.seconds = [service.draw(work) for _ in self.arrivals]
        self.chance = random.Random(f"starts {seed}")
        self.cold, self.flash = cold, flash
        self.workers = [Worker(index < rules.min_workers) for index in range(rules.max_workers)]
        self.events: list[tuple[float, int, Kind, int]] = []
        self.count = 0
        self.waiting: deque[int] = deque()
        self.began: dict[int, tuple[float, int]] = {}
        self.jobs: dict[int, Job] = {}
        self.timeline: list[tuple[float, int, int, int]] = []

    def at(self, time: float, kind: Kind, subject: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, kind, subject))

    def run(self) -> Outcome:
        for worker in self.workers:
            if worker.always:  # ready before the first request
                worker.turn("idle", 0.0)
        for index, time in enumerate(self.arrivals):
            self.at(time, "arrival", index)
        now = 0.0
        self.note(now)
        while self.events:
            now, _, kind, subject = heapq.heappop(self.events)
            getattr(self, kind)(subject, now)
            self.serve(now)
            if self.rules.scaler == "REQUEST_COUNT":
                running = sum(worker.state == "busy" for worker in self.workers)
                self.grow(self.rules.wanted(len(self.waiting), running), now)
            self.note(now)
        for worker in self.workers:
            worker.turn("off", now)
        return Outcome(
            rules=self.rules,
            jobs=tuple(self.jobs[index] for index in range(len(self.arrivals))),
            workers=tuple(self.workers),
            seconds=now,
            timeline=tuple(self.timeline),
        )

    def arrival(self, job: int, now: float) -> None:
        self.waiting.append(job)
        if self.rules.scaler == "QUEUE_DELAY":
            self.at(now + self.rules.value, "overdue", job)

    def overdue(self, job: int, now: float) -> None:
        """One more worker, unless as many are starting as requests have waited so long."""
        if job in self.began:
            return
        late = sum(now - self.arrivals[other] >= self.rules.value for other in self.waiting)
        starting = sum(worker.state == "starting" for worker in self.workers)
        if starting < late:
            self.grow(self.alive() + 1, now)

    def ready(self, index: int, now: float) -> None:
        self.rest(index, now)

    def done(self, index: int, now: float) -> None:
        self.rest(index, now)

    def rest(self, index: int, now: float) -> None:
        self.workers[index].turn("idle", now)
        if not self.workers[index].always:
            self.at(now + self.rules.idle_seconds, "idle", index)

    def idle(self, index: int, now: float) -> None:
        """The end of an idle time, if it was not interrupted."""
        worker = self.workers[index]
        if worker.state == "idle" and now - worker.since >= self.rules.idle_seconds - 1e-9:
            worker.turn("off", now)

    def serve(self, now: float) -> None:
        """Hand what waits to who is ready: those that always run first, then who rested least."""
        while self.waiting:
            ready = [i for i, worker in enumerate(self.workers) if worker.state == "idle"]
            if not ready:
                return
            index = min(ready, key=lambda i: (not self.workers[i].always, -self.workers[i].since))
            job = self.waiting.popleft()
            self.workers[index].turn("busy", now)
            self.began[job] = (now, index)
            end = now + self.seconds[job]
            self.jobs[job] = Job(arrived=self.arrivals[job], began=now, ended=end, worker=index)
            self.at(end, "done", index)

    def alive(self) -> int:
        return sum(worker.state != "off" for worker in self.workers)

    def grow(self, wanted: int, now: float) -> None:
        """Start workers up to so many; those that ended last first, as they may start fast."""
        missing = min(wanted, self.rules.max_workers) - self.alive()
        off = [i for i, worker in enumerate(self.workers) if worker.state == "off"]
        off.sort(key=lambda i: (self.workers[i].starts == 0, -self.workers[i].since))
        for index in off[: max(0, missing)]:
            worker = self.workers[index]
            warm = worker.starts > 0 and now - worker.since <= self.rules.flash_keep
            times = self.flash if warm and self.rules.flash_keep else self.cold
            worker.starts += 1
            worker.turn("starting", now)
            self.at(now + times.draw(self.chance), "ready", index)

    def note(self, now: float) -> None:
        ready = sum(worker.state in ("idle", "busy") for worker in self.workers)
        entry = (now, self.alive(), ready, len(self.waiting))
        if not self.timeline or self.timeline[-1][1:] != entry[1:]:
            self.timeline.append(entry)
