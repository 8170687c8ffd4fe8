"""The work that nobody waits for: threads that take their turns when woken, and now and then."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

logger = logging.getLogger(__name__)
# Seconds between two turns of a loop however often it is woken: what comes meanwhile is one turn's.
REST = 0.1
# Seconds that a thread may keep Python to itself while others wait for it, a fifth of the usual: a
# call to the database is many short pieces of Python, and each would wait so long behind another.
SWITCH_SECONDS = 0.001
LEAVE_SECONDS = 10.0  # for the turns to end, of all loops together


class Works(Protocol):
    """Who runs a gateway's loops: `Loops` in this process, `gateway.apart.Apart` in another."""

    @property
    def alive(self) -> bool:
        """Whether all of them run."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def wake(self, name: str) -> None:
        """Have a loop take a turn now. Nothing happens where it does not run."""
        ...

    def closing(self) -> bool:
        """Whether no more work should be begun."""
        ...

    def close(self) -> None:
        """Let each finish its turn, for a while: what is cut off is done again later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A kind of work: its turn, and the seconds between two of them where nobody wakes it.

    `first` is done once, before any loop begins.
    """

    name: str
    turn: Callable[[], object]
    every: float
    first: Callable[[], object] | None = None


class Loops:
    """Runs loops on threads of their own until it is closed."""

    def __init__(self) -> None:
        self._loops: tuple[Loop, ...] = ()
        self._wakes: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._leave = threading.Event()

    def add(self, *loops: Loop) -> None:
        """Have these run from the start on."""
        self._loops += loops

    def wake(self, name: str) -> None:
        """Have a loop take a turn now. Nothing happens where it does not run."""
        if (wake := self._wakes.get(name)) is not None:
            wake.set()

    def start(self) -> None:
        """Begin, with a turn of each. Raises what a loop's `first` does."""
        for loop in self._loops:
            if loop.first is not None:
                loop.first()
        self._wakes = {loop.name: threading.Event() for loop in self._loops}
        for loop in self._loops:
            thread = threading.Thread(
                target=self._run, args=(loop,), name=f"gateway-{loop.name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """Let each finish its turn, all together at most so many seconds. What is cut off is done
        again at the next start.
        """
        self._leave.set()
        for wake in self._wakes.values():
            wake.set()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def closing(self) -> bool:
        """Whether no more work should be begun."""
        return self._leave.is_set()

    @property
    def alive(self) -> bool:
        """Whether all of them run."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, loop: Loop) -> None:
        wake = self._wakes[loop.name]
        while not self._leave.is_set():
            wake.clear()
            try:
                loop.turn()
            except Exception:
                # The database or a service is away: the next turn finds what this one left.
                logger.exception("a turn of %s failed", loop.name)
            if not self._leave.wait(REST):
                wake.wait(loop.every)
