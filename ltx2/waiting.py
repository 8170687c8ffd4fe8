"""Waiting for what is slow, a server above all, while somebody may call it off."""

import contextvars
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from ltx2.errors import Cancelled

# Whether to stop. May raise instead, where there is more to say than that somebody called it off.
Stop = Callable[[], bool]

ASK_SECONDS = 0.25  # between two questions; a caller who stops a job is not to wait a second

T = TypeVar("T")


def ask(stop: Stop | None) -> None:
    """Raise Cancelled, or what `stop` itself raises, where the work is to end."""
    if stop is not None and stop():
        raise Cancelled("stopped while fetching what the request names")


class Outcome(Generic[T]):
    """How a block of another thread ended: use it in a `with`, and `get` what came out.

    Nothing leaves the block: an error there is raised where the outcome is asked for.
    """

    def __init__(self) -> None:
        self.value: list[T] = []
        self.error: BaseException | None = None

    def __enter__(self) -> "Outcome[T]":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        self.error = error
        return True

    def get(self) -> T:
        """The value, or the error raised again."""
        self.check()
        return self.value[0]

    def check(self) -> None:
        """Raise the block's error, if there was one."""
        if self.error is not None:
            raise self.error


def aside(call: Callable[[threading.Event], T], *, stop: Stop | None, name: str) -> T:
    """What `call` returns or raises, run on a thread of its own that is left behind on a stop.

    For libraries whose waiting cannot be interrupted. `call` gets an event that is set when nobody
    waits any more: it must look at it, end soon, and leave nothing lying about.
    """
    left_behind, outcome = threading.Event(), Outcome[T]()

    def run() -> None:
        with outcome:
            outcome.value.append(call(left_behind))

    run_here = contextvars.copy_context().run  # so that its log lines name the job
    thread = threading.Thread(target=run_here, args=(run,), name=name, daemon=True)
    ask(stop)
    thread.start()
    try:
        while thread.is_alive():
            ask(stop)
            thread.join(ASK_SECONDS)
    finally:
        left_behind.set()
    return outcome.get()
