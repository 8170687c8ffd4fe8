"""A row of the generations to its state: the one place where columns become a union."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from gateway.states import (
    Cancelled,
    Cancelling,
    Done,
    ErrorType,
    Failed,
    Generation,
    Output,
    Phase,
    Progress,
    Queued,
    Running,
    State,
    Submitted,
)
from gateway.tables import LIVE, GenerationRow

# So many questions in a row that nobody answered are no slip of the line any more.
UNANSWERED = 3
# The worker's phases in the words of the API.
PHASES: Mapping[str, Phase] = {
    "prompt": "prompt", "condition": "prompt",
    "base": "generate",
    "upsample": "refine", "refine": "refine", "round": "refine", "detail": "refine",
    "sound": "decode", "decode+encode": "decode",
    "deliver": "saving",
}  # fmt: skip


def read_generation(
    row: GenerationRow,
    *,
    position: int | None,
    eta_seconds: float | None,
    replayed: bool = False,
) -> Generation:
    """A row as everything above the database sees it."""
    return Generation(
        id=row.id,
        account_id=row.account_id,
        created_at=row.created_at,
        form=row.form,
        credits=row.credits,
        price_version=row.price_version,
        favourite=row.favourite,
        state=_state(row, position),
        queue_ms=row.queue_ms,
        execution_ms=row.execution_ms,
        eta_seconds=eta_seconds,
        version=row.version,
        unanswered=is_unanswered(row),
        replayed=replayed,
    )


def is_unanswered(row: GenerationRow) -> bool:
    """Whether the worker's platform does not answer to questions about it."""
    return row.state in LIVE and row.checks <= -UNANSWERED


def _state(row: GenerationRow, position: int | None) -> State:
    match row.state:
        case "queued":
            return Queued(position=position or 1)
        case "submitted":
            return Submitted(at=_moment(row.submitted_at), position=position)
        case "running":
            return Running(since=_moment(row.began_at), progress=read_progress(row.progress))
        case "cancelling":
            return Cancelling(
                at=_moment(row.cancel_asked_at),
                began=row.began_at,
                progress=read_progress(row.progress),
            )
        case "done":
            output = read_output(row.output)
            assert output is not None, f"{row.id} is done without an output"
            return Done(at=_moment(row.ended_at), began=row.began_at, output=output)
        case "failed":
            return Failed(
                at=_moment(row.ended_at),
                began=row.began_at,
                error=cast("ErrorType", row.error_type),
                message=row.error_message or "",
                late=read_output(row.output),
            )
        case "cancelled":
            return Cancelled(at=_moment(row.ended_at), began=row.began_at)
        case _:
            raise AssertionError(f"{row.id} is {row.state}, which is no state")


def _moment(value: datetime | None) -> datetime:
    assert value is not None, "a state without its moment"
    return value


def read_progress(stored: Mapping[str, Any] | None) -> Progress | None:
    """The progress of a row."""
    if stored is None:
        return None
    return Progress(
        seq=stored["seq"],
        phase=stored["phase"],
        step=stored["step"],
        steps=stored["steps"],
        percent=stored["percent"],
    )


def progress_of(
    report: Mapping[str, Any], before: Mapping[str, Any] | None, now: datetime, worker: str | None
) -> dict[str, Any] | None:
    """What is stored of a worker's report; None for one that is no news or cannot be read.

    Reports come in any order: the highest `seq` of a worker counts. Another worker that took the
    job over counts from 0 again; for people neither `seq` nor `percent` goes back.
    """
    seq, percent = report.get("seq"), report.get("percent")
    phase = PHASES.get(str(report.get("phase")))
    if not isinstance(seq, int) or not isinstance(percent, int | float) or phase is None:
        return None
    known = before or {"worker": worker, "worker_seq": -1, "seq": -1, "percent": 0}
    if known["worker"] == worker and seq <= known["worker_seq"]:
        return None
    step, steps, eta = report.get("step"), report.get("steps"), report.get("eta")
    whole = isinstance(step, int) and isinstance(steps, int) and steps > 1
    return {
        "worker": worker,
        "worker_seq": seq,
        "seq": max(seq, known["seq"] + 1),
        "phase": phase,
        "step": step if whole else None,
        "steps": steps if whole else None,
        "percent": min(100, max(round(percent), known["percent"])),
        "eta": float(eta) if isinstance(eta, int | float) else None,
        "at": now.isoformat(),
    }


def seconds_left(stored: Mapping[str, Any] | None, now: datetime) -> float | None:
    """What the worker said, less the time since; None where it said nothing."""
    if stored is None or stored["eta"] is None:
        return None
    since = now - datetime.fromisoformat(stored["at"])
    return max(0.0, stored["eta"] - since / timedelta(seconds=1))


def read_output(stored: Mapping[str, Any] | None) -> Output | None:
    """The output of a row."""
    if stored is None:
        return None
    return Output(**{**stored, "warnings": tuple(stored["warnings"])})


def output_row(output: Output) -> dict[str, Any]:
    """An output as it is stored."""
    return {**asdict(output), "warnings": list(output.warnings)}
