"""What the gateway says no to: one small tree, each class with its envelope's type and HTTP status.

Refusal
├── Problems       invalid_request_error  400   the form; every problem at once
├── Unauthorised   authentication_error   401   no key or session, or one that is over
├── Unaffordable   insufficient_funds_error 402 the credits do not suffice
├── NotFound       not_found_error        404   not there, or another account's
├── Conflict       conflict_error         409   not in this state
├── TooLarge       request_too_large      413   more bytes than are taken
├── KeyReused      idempotency_error      422   the same idempotency key with another form
├── Limited        rate_limit_error or concurrency_limit_error 429  too often, or too many at once
└── Unavailable    service_unavailable    503   the worker cannot be reached now
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: the field, a sentence for people, and what would be accepted."""

    field: str | None  # None: the form as a whole
    message: str
    allowed: tuple[str | int, ...] | None = None


class Refusal(Exception):
    """Anything that is refused, with a message for the caller."""

    type = "api_error"
    status = 500


class Problems(Refusal):
    """The form cannot be carried out; `problems` holds at least one."""

    type = "invalid_request_error"
    status = 400

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.message for problem in self.problems))


class Unauthorised(Refusal):
    """Who asks is not known."""

    type = "authentication_error"
    status = 401


class Unaffordable(Refusal):
    """`required` credits are more than the `available` ones."""

    type = "insufficient_funds_error"
    status = 402

    def __init__(self, *, required: int, available: int) -> None:
        self.required, self.available = required, available
        super().__init__(
            f"insufficient funds: {required} credits are required, {available} are available"
        )


class NotFound(Refusal):
    """There is no such thing for this account."""

    type = "not_found_error"
    status = 404


class Conflict(Refusal):
    """It cannot be done in the state that this is in."""

    type = "conflict_error"
    status = 409


class TooLarge(Refusal):
    """More bytes than `most`."""

    type = "request_too_large"
    status = 413

    def __init__(self, message: str, *, most: int) -> None:
        self.most = most
        super().__init__(message)


class KeyReused(Refusal):
    """This idempotency key was used with another form."""

    type = "idempotency_error"
    status = 422


class Limited(Refusal):
    """Too many calls (`rate`), or too many generations at once (`concurrency`)."""

    status = 429

    def __init__(
        self, message: str, *, kind: Literal["rate", "concurrency"], retry_after: int
    ) -> None:
        self.type = f"{kind}_limit_error"
        self.retry_after = retry_after  # seconds
        super().__init__(message)


class Unavailable(Refusal):
    """A worker or a store cannot be reached now; it may work later."""

    type = "service_unavailable"
    status = 503
