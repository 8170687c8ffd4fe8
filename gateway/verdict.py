"""What a job's status means for its generation: a pure function, all cases on one page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.backends import JobStatus
from gateway.states import ErrorType

# A job may not be known in the first moments after it was taken.
SETTLING = timedelta(seconds=30)
# After its execution timeout a job that still "runs" has lost its end: the store may have it.
OVERDUE = timedelta(seconds=60)

_CODE = re.compile(r"([A-Z][A-Z_]+): (.+)", re.DOTALL)
# The worker's codes whose sentences speak of the request and may be shown.
_SHOWN: Mapping[str, ErrorType] = {
    "BAD_REQUEST": "invalid_input",
    "MEDIA_REFUSED": "invalid_input",
    "TOO_LARGE": "invalid_input",
}
_SAID: Mapping[str, tuple[ErrorType, str]] = {
    "OUT_OF_MEMORY": (
        "out_of_memory",
        "The video did not fit into the GPU's memory. A shorter or smaller one may.",
    ),
    "DEADLINE": ("timeout", "The video took longer than allowed."),
    "CONTENT_FILTERED": ("content_filtered_error", "The video was held back by a content filter."),
}
TIMEOUT = "The video took longer than allowed."
LOST = "The video was lost on its way to us."
FAULT = "Something went wrong while the video was made."


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is decided yet."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The worker is at it; `report` is its last progress, if it sent one."""

    report: Mapping[str, Any] | None
    worker: str | None
    queue_ms: int | None
    overdue: bool  # whether to look in the store, too


@dataclass(frozen=True, slots=True)
class Finished:
    """There is a result to take."""

    result: Mapping[str, Any]
    queue_ms: int | None
    execution_ms: int | None


@dataclass(frozen=True, slots=True)
class Over:
    """The job has ended and told us nothing to take: what is in the store counts, else this."""

    error: ErrorType
    sentence: str
    worker_error: str | None
    stored: bool  # whether the store may have a video all the same
    queue_ms: int | None = None
    execution_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Stopped:
    """The job was called off, as it was asked to be."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The time to wait is over: cancel it, and look in the store for the last time."""


Verdict = Wait | Runs | Finished | Over | Stopped | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of a generation whose job is judged."""

    cancelling: bool
    submitted_at: datetime
    began_at: datetime | None
    deadline_at: datetime
    execution_seconds: int
    now: datetime


def judge(case: Case, status: JobStatus | None) -> Verdict:
    """What to do about a job. None for `status` stands for one that is not known."""
    late = case.now >= case.deadline_at
    if status is None:
        if case.now < case.submitted_at + SETTLING:
            return Wait()
        # One that was to end may have been first with its video.
        return Over("lost", LOST, "the platform does not know the job", stored=True)
    match status.state:
        case "completed" if status.output:
            return Finished(status.output, status.queue_ms, status.execution_ms)
        case "completed":
            said = "the job is completed without a result"
            return Over(
                "lost", LOST, said, True, status.queue_ms, status.execution_ms
            )  # fmt: skip
        case "failed":
            return _failed(case, status)
        case "cancelled" if case.cancelling:
            return Stopped()
        case "cancelled" if late:  # by us, at a moment when the store had no say
            return GiveUp()
        case "cancelled":
            return Over("api_error", FAULT, "the job was cancelled by someone else", stored=True)
        case "timed_out":
            return Over(
                "timeout", TIMEOUT, status.error, True, status.queue_ms, status.execution_ms
            )  # fmt: skip
        case _ if late:
            return GiveUp()
        case "running":
            limit = timedelta(seconds=case.execution_seconds) + OVERDUE
            overdue = case.began_at is not None and case.now >= case.began_at + limit
            return Runs(status.output, status.worker, status.queue_ms, overdue)
        case _:
            return Wait()


def _failed(case: Case, status: JobStatus) -> Verdict:
    """The worker's own words, where they are safe to show; never a traceback."""
    found = _CODE.fullmatch(status.error or "")
    code, sentence = (found[1], found[2]) if found else ("", "")
    times = (status.queue_ms, status.execution_ms)
    if code == "CANCELLED" and case.cancelling:
        return Stopped()
    if code in _SHOWN:
        plain = sentence[0].upper() + sentence[1:].rstrip(".") + "."
        return Over(_SHOWN[code], plain, status.error, False, *times)
    if code in _SAID:
        error, said = _SAID[code]
        return Over(error, said, status.error, False, *times)
    return Over("api_error", FAULT, status.error, code == "DELIVERY_FAILED", *times)
