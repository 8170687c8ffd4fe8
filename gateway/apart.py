"""The loops in a process of their own: Python runs one thread at a time, and those who call would
wait behind the work that nobody waits for.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from gateway.core import Counts, build
from gateway.loops import SWITCH_SECONDS, Works
from gateway.parts import Parts

logger = logging.getLogger(__name__)
LEAVE_SECONDS = 12.0  # for the loops' turns to end
PAUSE_SECONDS = 1.0  # before a process that has ended is begun again; doubled while none works
LONGEST_PAUSE_SECONDS = 30.0
LOOK_SECONDS = 1.0  # between two looks whether all loops still run, each of which is told of
FRESH_SECONDS = 10.0  # that a process which last told so is held to work
_LETTERS = {"submit": b"s", "reconcile": b"r"}
_NAMES = {letter[0]: name for name, letter in _LETTERS.items()}
_QUIET = {signal.SIGINT, signal.SIGTERM}  # the process that answers is told, and ends both

# What the other process runs, such as `live` with its parts. Must be what pickle takes.
Main = Callable[[Connection, Connection], None]


class Apart:
    """Keeps the process of the loops, and begins it again where it ends by itself."""

    def __init__(self, main: Main, counts: Counts) -> None:
        self._main = main
        self._counts = counts
        self._lock = threading.Lock()
        self._wakes: Connection | None = None
        self._process: BaseProcess | None = None
        self._worked_at: float | None = None  # when the process last told that its loops run
        self._leave = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="gateway-apart", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the loops run, for all that their process tells."""
        at = self._worked_at
        return at is not None and time.monotonic() - at < FRESH_SECONDS

    def closing(self) -> bool:
        """Whether they are to end."""
        return self._leave.is_set()

    def start(self) -> None:
        """Begin; `alive` tells when the loops run."""
        self._keeper.start()

    def wake(self, name: str) -> None:
        """Have a loop take a turn now. Never waits: a pipe that is full holds wakes enough."""
        with self._lock:
            if self._wakes is not None:
                with suppress(BlockingIOError, BrokenPipeError):
                    os.write(self._wakes.fileno(), _LETTERS[name])

    def close(self) -> None:
        """Let each loop finish its turn, and end the process; at once where it still begins."""
        self._leave.set()
        with self._lock:
            if self._process is not None and self._worked_at is None:
                self._process.kill()
        self._hang_up()
        self._keeper.join(LEAVE_SECONDS)
        with self._lock:
            if (stuck := self._process) is not None:
                logger.error("the process of the loops did not end in %g s; killed", LEAVE_SECONDS)
                stuck.kill()
        if stuck is not None:
            self._keeper.join(LEAVE_SECONDS)

    def _keep(self) -> None:
        pause = PAUSE_SECONDS
        while not self._leave.is_set():
            try:
                worked, why = self._live_once()
            except Exception:  # no memory for a process, say: the next try may have it
                logger.exception("no process of the loops")
                worked, why = False, "cannot be begun"
            if worked:
                pause = PAUSE_SECONDS
            if not self._leave.is_set():
                logger.error("the process of the loops %s; it begins again in %g s", why, pause)
            self._leave.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _live_once(self) -> tuple[bool, str]:
        """One process from its start to its end: whether its loops ran, and how it ended."""
        process, told = self._begun()
        if self._leave.is_set():
            process.kill()
        try:
            worked = self._listen(told)
        finally:
            self._worked_at = None
            self._hang_up()
            told.close()
            process.join(LEAVE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
            with self._lock:
                self._process = None
        code = process.exitcode
        process.close()
        return worked, f"ended with {code}"

    def _begun(self) -> tuple[BaseProcess, Connection]:
        """A process, and where it tells."""
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
        return process, told

    def _listen(self, told: Connection) -> bool:
        """Count what the process tells of, until it closes its end; whether its loops ran."""
        worked = False
        while True:
            try:
                said = told.recv()
            except (EOFError, OSError):
                return worked
            match said:
                case ("works",):
                    self._worked_at, worked = time.monotonic(), True
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
        """The loops run now."""
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


def live(parts: Parts, wakes: Connection, telling: Connection) -> None:
    """Be the process of a gateway's loops, until the one that answers closes its end, or dies.

    Exits with 1 where they cannot begin, or where one has ended by itself.
    """
    told = Told(telling)
    try:
        core = build(parts, counts=told)
        try:
            work(core.works, wakes, told)
        finally:
            core.close()
    except Exception:  # the database is away, say; multiprocessing would write past our log
        logger.exception("the loops cannot go on")
        sys.exit(1)


def work(works: Works, wakes: Connection, told: Told) -> None:
    """Run loops until the other end of `wakes` is closed. Raises RuntimeError where one ends."""
    for each in _QUIET:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _QUIET)
    sys.setswitchinterval(SWITCH_SECONDS)
    works.start()
    tell_at = time.monotonic()
    while works.alive:
        if (now := time.monotonic()) >= tell_at:
            told.works()
            tell_at = now + LOOK_SECONDS
        if wakes.poll(max(0.0, tell_at - now)):
            said = os.read(wakes.fileno(), 4096)
            if not said:
                return
            for letter in set(said):
                works.wake(_NAMES[letter])
    raise RuntimeError("a loop has ended")
