"""Main functions of a process of loops, for tests of the one that keeps it."""

import os
import signal
import threading

from gateway.apart import Told


class Heard:
    """Counts what is told."""

    def __init__(self):
        self.outcomes = []

    def platform(self, call, outcome):
        raise AssertionError(call, outcome)

    def webhook(self, outcome):
        self.outcomes.append(outcome)


def hang(wakes, telling):
    """Work, and never look whether it is to end."""
    Told(telling).works()
    threading.Event().wait()


def tell_mask(wakes, telling):
    """Say which signals are blocked, and end as the other process does."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    told = Told(telling)
    told.webhook(str(sorted(int(each) for each in blocked)))
    told.works()
    os.read(wakes.fileno(), 1)
