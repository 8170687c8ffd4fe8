"""Who makes the videos: a Protocol over RunPod's job API and what stands in for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

# "unknown" is any word that the platform may add: it is not an end.
JobState = Literal["queued", "running", "completed", "failed", "cancelled", "timed_out", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is asked for. `input` holds the generation's id, by which it is idempotent."""

    input: Mapping[str, Any]
    webhook: str | None
    execution_seconds: int  # that it may run
    ttl_seconds: int  # that it may be there, the queue included


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """Where a job stands, by its worker's platform."""

    id: str
    state: JobState
    output: Mapping[str, Any] | None  # of a finished one its result, of a running one its progress
    error: str | None  # never shown to people as it is
    worker: str | None
    queue_ms: int | None
    execution_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether jobs are taken at all, in a sentence for the operator."""

    ok: bool
    detail: str


class NotSubmitted(Exception):
    """The platform took no job, for sure; it may later. `seconds`: when it says to ask again.
    `busy`: it works, and has too many calls just now.
    """

    def __init__(self, message: str, *, seconds: float | None = None, busy: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.busy = busy


class Rejected(Exception):
    """The platform will never take this job."""


class Unsure(Exception):
    """The platform may have taken the job, or not."""


class Unreachable(Exception):
    """The platform did not say; it may the next time."""


class Backend(Protocol):
    """A platform that runs jobs. Calls block, for seconds; `submit` never asks twice."""

    def submit(self, job: Job) -> str:
        """The job's id. Raises NotSubmitted, Rejected, Unsure."""
        ...

    def status(self, job_id: str) -> JobStatus | None:
        """Where a job stands; None where it is not known (any more). Raises Unreachable."""
        ...

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; it may have ended or be unknown. Raises Unreachable."""
        ...

    def enhance(self, prompt: str, image: str | None, *, seconds: float) -> str:
        """A richer prompt. Raises Rejected where the worker cannot, Unreachable."""
        ...

    def facts(self, *, seconds: float) -> Mapping[str, Any]:
        """What a worker says of itself, its `model` and `modes` among it; on a platform this may
        start one. Raises Rejected where it cannot, Unreachable.
        """
        ...

    def health(self) -> Health:
        """Whether jobs are taken."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
