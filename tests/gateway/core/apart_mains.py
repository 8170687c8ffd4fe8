"""Main functions of a process of loops, for tests of the one that keeps it.

What they need is imported where they run: a process that ends at once should begin at once.
"""

import os
import signal
import threading


class Heard:
    """Counts what is told."""

    def __init__(self):
        self.outcomes = []

    def platform(self, call, outcome):
        raise AssertionError(call, outcome)

    def webhook(self, outcome):
        self.outcomes.append(outcome)


def end(wakes, telling):
    """Nothing."""


def begin(wakes, telling):
    """Never come to work."""
    threading.Event().wait()


def work_once(wakes, telling):
    """Say that it works, and end."""
    from gateway.apart import Told

    Told(telling).works()


def work_on(wakes, telling):
    """What the real one does, with no loops to run."""
    from gateway.apart import Told, work
    from gateway.loops import Loops

    work(Loops(), wakes, Told(telling))


def hang(wakes, telling):
    """Work, and never look whether it is to end."""
    work_once(wakes, telling)
    threading.Event().wait()


def tell_mask(wakes, telling):
    """Say which signals are blocked, and end as the other process does."""
    from gateway.apart import Told

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    told = Told(telling)
    told.webhook(str(sorted(int(each) for each in blocked)))
    told.works()
    os.read(wakes.fileno(), 1)
