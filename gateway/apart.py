"""The loops in a process of their own: Python runs one thread at a time, and those who call would
wait behind the work that nobody waits for.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from gateway.core import Core, Counts
from gateway.loops import SWITCH_SECONDS, Loops

logger = logging.getLogger(__name__)
START_SECONDS = 60.0  # that the first start may take; a busy machine imports slowly
LEAVE_SECONDS = 12.0  # for the loops' turns to end
PAUSE_SECONDS = 1.0  # before a process that has ended is begun again
LOOK_SECONDS = 1.0  # between two looks whether all loops still run
_LETTERS = {"submit": b"s", "reconcile": b"r"}
_NAMES = {letter[0]: name for name, letter in _LETTERS.items()}
_QUIET = {signal.SIGINT, signal.SIGTERM}  # the process that answers is told, and ends both

# What the other process runs: it builds the same gateway and calls `work`. Must be importable.
Main = Callable[[Connection, Connection], None]


class Apart:
    """Keeps the process of the loops, and begins it again where it ends by itself."""

    def __init__(self, main: Main, counts: Counts) -> None:
        self._main = main
        self._counts = counts
        self._lock = threading.Lock()
        self._wakes: Connection | None = None
        self._process: BaseProcess | None = None
        self._works = threading.Event()
        self._leave = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="gateway-apart", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the loops run."""
        return self._works.is_set()

    def closing(self) -> bool:
        """Whether they are to end."""
        return self._leave.is_set()

    def start(self) -> None:
        """Begin, and wait for the loops to run."""
        self._keeper.start()
        if not self._works.wait(START_SECONDS):
            logger.error("the process of the loops does not run after %g s", START_SECONDS)

    def wake(self, name: str) -> None:
        """Have a loop take a turn now. Never waits: a pipe that is full holds wakes enough."""
        with self._lock:
            if self._wakes is not None:
                with suppress(BlockingIOError, BrokenPipeError):
                    os.write(self._wakes.fileno(), _LETTERS[name])

    def close(self) -> None:
        """Let each loop finish its turn, and end the process."""
        self._leave.set()
        self._hang_up()
        self._keeper.join(LEAVE_SECONDS)
        with self._lock:
            stuck = self._process
        if stuck is not None:
            logger.error("the process of the loops did not end in %g s; killed", LEAVE_SECONDS)
            stuck.kill()
            self._keeper.join(LEAVE_SECONDS)

    def _keep(self) -> None:
        while not self._leave.is_set():
            try:
                code = self._live_once()
            except Exception:  # no memory for a process, say: the next try may have it
                logger.exception("the process of the loops cannot be begun; again in a moment")
            else:
                if not self._leave.is_set():
                    logger.error("the process of the loops ended with %s; it begins again", code)
            self._leave.wait(PAUSE_SECONDS)

    def _live_once(self) -> int | None:
        """One process from its start to its end; its exit code."""
        context = get_context("spawn")
        heard, wakes = context.Pipe(duplex=False)
        told, telling = context.Pipe(duplex=False)
        os.set_blocking(wakes.fileno(), False)
        process = context.Process(target=self._main, args=(heard, telling), name="gateway-loops")
        # Its own first start would take the signals' block off again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _QUIET)  # which the process inherits
        try:
            process.start()
        except BaseException:
            wakes.close()
            told.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            heard.close()
            telling.close()
        with self._lock:
            self._wakes, self._process = wakes, process
        if self._leave.is_set():
            self._hang_up()
        try:
            self._listen(told)
        finally:
            self._works.clear()
            self._hang_up()
            told.close()
            process.join(LEAVE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
            with self._lock:
                self._process = None
        return process.exitcode

    def _listen(self, told: Connection) -> None:
        """Count what the process tells of, until it closes its end."""
        while True:
            try:
                said = told.recv()
            except (EOFError, OSError):
                return
            match said:
                case ("works",):
                    self._works.set()
                case ("platform", call, outcome):
                    self._counts.platform(call, outcome)
                case ("webhook", outcome):
                    self._counts.webhook(outcome)
                case other:
                    raise AssertionError(f"nobody tells {other!r}")

    def _hang_up(self) -> None:
        with self._lock:
            if self._wakes is not None:
                self._wakes.close()
                self._wakes = None


class Told:
    """`Counts` of the process that answers, in the one of the loops."""

    def __init__(self, telling: Connection) -> None:
        self._telling = telling
        self._lock = threading.Lock()

    def works(self) -> None:
        """The loops run."""
        self._tell("works")

    def platform(self, call: str, outcome: str) -> None:
        """The worker's platform was called."""
        self._tell("platform", call, outcome)

    def webhook(self, outcome: str) -> None:
        """A webhook was tried."""
        self._tell("webhook", outcome)

    def _tell(self, *said: str) -> None:
        with self._lock, suppress(OSError):  # nobody is left to count: the end comes
            self._telling.send(said)


def work(core: Core, wakes: Connection, told: Told) -> None:
    """Run a gateway's loops until the process that answers closes its end, or dies.

    Raises RuntimeError where a loop has ended by itself.
    """
    for each in _QUIET:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _QUIET)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        core.start()
        told.works()
        _obey(wakes, core.loops)
    finally:
        core.close()


def _obey(wakes: Connection, loops: Loops) -> None:
    while loops.alive:
        if wakes.poll(LOOK_SECONDS):
            said = os.read(wakes.fileno(), 4096)
            if not said:
                return
            for letter in set(said):
                loops.wake(_NAMES[letter])
    raise RuntimeError("a loop has ended")
