"""How a sample generation goes by: its state is a function of the time since it was asked for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.states import (
    Cancelled,
    Cancelling,
    Done,
    Failed,
    Output,
    Progress,
    Queued,
    Running,
    Submitted,
)

WAIT = 1.5  # seconds a worker takes to wake up
STOP = 1.5  # seconds it takes to stop
# Phase, its steps (None: it has none), and seconds a step, or in all.
PLAN = (
    ("loading", None, 1.5),
    ("prompt", None, 1.0),
    ("generate", 8, 0.6),
    ("refine", 3, 0.8),
    ("decode", None, 1.5),
    ("saving", None, 0.7),
)
WORK = sum((steps or 1) * each for _, steps, each in PLAN)
# What breaks on purpose, by a word of its prompt: after how much of the work, how, and a sentence.
ACCIDENTS = {
    "gigantic": (0.5, "out_of_memory", "It needs more memory than the worker has."),
    "endless": (0.9, "timeout", "The video took longer than allowed."),
}


def seconds(count):
    return timedelta(seconds=count)


@dataclass(frozen=True)
class Timeline:
    """When what happens. `starts` is when a worker takes it."""

    created: datetime
    starts: datetime
    prompt: str
    credits: int
    cancel_asked: datetime | None = None

    @property
    def began(self):
        return self.starts + seconds(WAIT)

    @property
    def accident(self):
        return next((row for word, row in ACCIDENTS.items() if word in self.prompt), None)

    @property
    def ends(self):
        """When the worker is free again."""
        work = WORK * (self.accident[0] if self.accident else 1)
        end = self.began + seconds(work)
        if self.cancel_asked is None:
            return end
        if self.cancel_asked < self.starts:
            return self.cancel_asked
        return min(end, self.cancel_asked + seconds(STOP))

    @property
    def stopped(self):
        """Whether it was cancelled in time."""
        return self.cancel_asked is not None and self.ends < self.began + seconds(WORK)

    def state(self, now, position, output: Output):
        began = self.began if now >= self.began else None
        if now >= self.ends:
            return self.end(began, output)
        if self.cancel_asked is not None:
            return Cancelling(at=self.cancel_asked, began=began, progress=self.progress(now))
        if now < self.starts:
            return Queued(position=position)
        if began is None:
            return Submitted(at=self.starts)
        return Running(since=began, progress=self.progress(now))

    def end(self, began, output):
        if self.stopped:
            return Cancelled(at=self.ends, began=began)
        if self.accident:
            _, error, sentence = self.accident
            message = f"{sentence} Your {self.credits} credits were returned."
            return Failed(at=self.ends, began=began, error=error, message=message)
        return Done(at=self.ends, began=began, output=output)

    def progress(self, now):
        at = (now - self.began).total_seconds()
        if at < 0.3:
            return None
        percent, seq, before = min(99, int(100 * at / WORK)), int(at * 10), 0.0
        for phase, steps, each in PLAN:
            long = (steps or 1) * each
            if at < before + long or phase == "saving":
                step = min(steps, int((at - before) / each) + 1) if steps else None
                return Progress(seq=seq, phase=phase, step=step, steps=steps, percent=percent)
            before += long
        raise AssertionError("the last phase has no end")

    def eta(self, now):
        return None if now < self.starts else max(0.0, (self.ends - now).total_seconds())
