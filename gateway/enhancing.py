"""Richer prompts by the worker's language model: free, so within limits."""

from gateway.api.limits import Buckets, Rate, Seats
from gateway.backends import Backend, Rejected, Unreachable
from gateway.clock import Clock
from gateway.desk import Account
from gateway.refusals import Unavailable
from gateway.stores import StoreFailed
from gateway.uploads import Uploads

ENHANCE_SECONDS = 60.0
# Prompts that wait for a worker at once: each holds a thread, and all other calls need some.
ENHANCED_AT_ONCE, ENHANCED_BY_ONE = 8, 2
# Free of charge for who could pay for a video, so not without end: each takes a GPU for seconds.
ENHANCED_RATE = Rate(per_minute=10, burst=10)


class Enhancing:
    """Asks the worker, for so many accounts at once and each so often."""

    def __init__(self, backend: Backend, uploads: Uploads, clock: Clock) -> None:
        self._backend = backend
        self._uploads = uploads
        self._often = Buckets(ENHANCED_RATE, lambda: clock.now().timestamp())
        self.everyone = Seats(ENHANCED_AT_ONCE, "Many prompts are being enriched; wait a moment.")
        self.each = Seats(
            ENHANCED_BY_ONE,
            f"{ENHANCED_BY_ONE} prompts are being enriched, the most at once; wait for one.",
        )

    def enhance(self, account: Account, prompt: str, image: str | None) -> str:
        """A richer prompt; `image` is an upload's address or an https URL, judged already.

        Raises Limited, Unavailable.
        """
        self._often.take(account.id)
        try:
            picture = None if image is None else self._uploads.as_data(image)
            with self.each.seat(account.id), self.everyone.seat("all"):
                return self._backend.enhance(prompt, picture, seconds=ENHANCE_SECONDS)
        except Rejected as error:
            raise Unavailable("this worker cannot enrich a prompt by itself") from error
        except (Unreachable, StoreFailed) as error:
            raise Unavailable("prompts cannot be enriched now; try again in a moment") from error
