"""A backend whose calls are counted by what came of them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gateway.backends import (
    Backend,
    Health,
    Job,
    JobStatus,
    NotSubmitted,
    Rejected,
    Unreachable,
    Unsure,
)

T = TypeVar("T")
# The call and its outcome: ok, or what was raised or told.
Count = Callable[[str, str], object]
_OUTCOMES = {
    NotSubmitted: "not_submitted",
    Rejected: "rejected",
    Unreachable: "unreachable",
    Unsure: "unsure",
}


class ObservedBackend:
    """The `Backend` behind it, with `count` told of each call."""

    def __init__(self, backend: Backend, count: Count) -> None:
        self._backend = backend
        self._count = count

    def submit(self, job: Job) -> str:
        """As `Backend.submit`."""
        return self._counted("submit", lambda: self._backend.submit(job))

    def status(self, job_id: str) -> JobStatus | None:
        """As `Backend.status`."""
        return self._counted("status", lambda: self._backend.status(job_id))

    def cancel(self, job_id: str) -> None:
        """As `Backend.cancel`."""
        self._counted("cancel", lambda: self._backend.cancel(job_id))

    def enhance(self, prompt: str, image: str | None, *, seconds: float) -> str:
        """As `Backend.enhance`."""
        return self._counted(
            "enhance", lambda: self._backend.enhance(prompt, image, seconds=seconds)
        )

    def facts(self, *, seconds: float) -> Mapping[str, Any]:
        """As `Backend.facts`."""
        return self._counted("facts", lambda: self._backend.facts(seconds=seconds))

    def health(self) -> Health:
        """As `Backend.health`."""
        found = self._backend.health()
        self._count("health", "ok" if found.ok else "unreachable")
        return found

    def close(self) -> None:
        """As `Backend.close`."""
        self._backend.close()

    def _counted(self, call: str, ask: Callable[[], T]) -> T:
        try:
            answer = ask()
        except tuple(_OUTCOMES) as error:
            self._count(call, _OUTCOMES[type(error)])
            raise
        self._count(call, "ok")
        return answer
