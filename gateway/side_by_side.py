"""Work that waits for others, some pieces at once: one that is slow keeps none from its turn."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

AT_ONCE = 8  # pieces
LOOK_SECONDS = 0.5  # between two looks for more work while some goes on
T = TypeVar("T")

# How many seats are free, and what is being done -> the next pieces, no more than that.
Claim = Callable[[int, Sequence[T]], Sequence[T]]


def work_off(
    claim: Claim[T],
    do: Callable[[T], object],
    *,
    name: str,
    leaving: Callable[[], bool] = lambda: False,
    at_once: int = AT_ONCE,
) -> int:
    """Do all that is due, and what becomes due meanwhile; how many pieces there were.

    Returns when nothing is left to do; once `leaving`, nothing more is claimed. Raises what `do`
    raises first, and leaves the others at their work.
    """
    count, busy = 0, dict[Future[None], T]()
    next_look = 0.0
    while True:
        free = at_once - len(busy)
        # Where less was due than there were seats, each end of a piece is no reason to ask again.
        look = free > 0 and (not busy or time.monotonic() >= next_look) and not leaving()
        found = claim(free, list(busy.values())) if look else ()
        if look and len(found) < free:
            next_look = time.monotonic() + LOOK_SECONDS
        count += len(found)
        busy |= {_begun(do, each, name): each for each in found}
        if not busy:
            return count
        ended, _ = wait(busy, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for each in ended:
            del busy[each]
            each.result()


def _begun(do: Callable[[T], object], piece: T, name: str) -> Future[None]:
    """A piece on a thread of its own. Not the standard pool's: the end of the process waits for
    those, and a video may be on its way for minutes.
    """
    future: Future[None] = Future()

    def run() -> None:
        try:
            do(piece)
        except BaseException as error:  # noqa: BLE001 - the turn raises it
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
