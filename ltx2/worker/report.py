"""Progress of one job to whoever asked: in order, one message at a time, never in the way."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ltx2.progress import Event

logger = logging.getLogger(__name__)
Send = Callable[[dict[str, Any]], object]
EVERY = 1.0  # seconds between two messages; the platform's client starts a thread for each


class Reporter:
    """A listener of `ltx2.progress.Progress` that sends `{seq, phase, step, steps, percent, eta}`.

    `send` may block: a thread of its own calls it with the newest state, and a state that has
    been overtaken is not sent. `percent` (0..100, of the whole job) never falls, `eta` is in
    seconds or null. Without `send` nothing is done. Once `silent` says so nothing is sent any more:
    to the platform a message of a cancelled job would say that it runs.
    """

    def __init__(
        self,
        send: Send | None,
        *,
        every: float = EVERY,
        silent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._send = send
        self._silent = silent
        self._every = every
        self._wake = threading.Condition()
        self._next: dict[str, Any] | None = None
        self._closed = False
        self._percent = 0.0
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Note where the run stands."""
        if self._send is None:
            return
        self._percent = max(self._percent, event.percent)
        state = {
            "phase": event.stage,
            "step": event.step,
            "steps": event.steps,
            "percent": round(self._percent, 1),
            "eta": None if event.eta is None else round(event.eta, 1),
        }
        with self._wake:
            if self._closed:
                return
            self._next = state
            if self._thread is None:
                run_here = contextvars.copy_context().run  # so that its log lines name the job
                self._thread = threading.Thread(
                    target=run_here, args=(self._run,), name="progress", daemon=True
                )
                self._thread.start()
            self._wake.notify()

    def close(self, seconds: float = 5.0) -> None:
        """Send nothing more, and wait until what is on its way has arrived, at most `seconds`.

        A message that arrives after the result would turn a finished job back into a running one.
        """
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        assert self._send is not None
        number, sent = 0, float("-inf")
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._next is not None)
                while not self._closed and (left := sent + self._every - time.monotonic()) > 0:
                    self._wake.wait(left)
                if self._closed or self._next is None or self._silent():
                    return
                state, self._next = self._next, None
            try:
                self._send({"seq": number, **state})
            except (OSError, RuntimeError, ValueError):
                logger.exception("a progress message could not be sent")
            number, sent = number + 1, time.monotonic()
