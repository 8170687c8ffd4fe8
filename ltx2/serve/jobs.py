"""A job on its way: queued, running, ended; and what /status says of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from ltx2.serve.rules import Kind
from ltx2.serve.submission import Submission

Status = Literal["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
WORKER_ID = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Waiting for the worker."""


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """With the worker. One object is one attempt: after a retry there is another."""

    began: float
    progress: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Answered, or called off. `began` is None where it never ran."""

    status: Status
    began: float | None
    at: float
    output: Any = None
    error: str | None = None


State = Queued | Running | Ended


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One job. Times are seconds on the endpoint's clock."""

    id: str
    kind: Kind
    submission: Submission
    submitted: float
    execution_seconds: float
    forgotten_at: float  # its TTL, and once it has ended the end of its result
    state: State = field(default_factory=Queued)
    over: asyncio.Event = field(default_factory=asyncio.Event)  # ended or forgotten

    def handed_over(self) -> dict[str, Any]:
        """The job as the worker gets it."""
        return {"id": self.id, **self.submission.job}

    def body(self) -> dict[str, Any]:
        """What /status and a webhook say of the job. Times are milliseconds."""
        webhook = self.submission.webhook
        hook = {} if webhook is None else {"webhook": webhook}
        match self.state:
            case Queued():
                return {"id": self.id, "status": "IN_QUEUE", **hook}
            case Running(began=began, progress=progress):
                return {
                    "delayTime": milliseconds(began - self.submitted),
                    "id": self.id,
                    **({} if progress is None else {"output": progress}),
                    "status": "IN_PROGRESS",
                    "workerId": WORKER_ID,
                    **hook,
                }
            case Ended() as end:
                return {**self._end(end), **hook}
            case _:
                assert_never(self.state)

    def _end(self, end: Ended) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if end.began is not None:
            body["delayTime"] = milliseconds(end.began - self.submitted)
        if end.error is not None:
            body["error"] = end.error
        if end.began is not None:
            body["executionTime"] = milliseconds(end.at - end.began)
        body["id"] = self.id
        if end.output is not None:
            body["output"] = end.output
        body["status"] = end.status
        if end.began is not None:
            body["workerId"] = WORKER_ID
        return body


def milliseconds(seconds: float) -> int:
    """As the platform counts."""
    return max(0, round(1000 * seconds))
