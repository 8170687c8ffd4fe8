"""From one state to the next: each change with its credits and its event in one transaction.

Every function gets a row that its caller locked by `locked`, and does nothing where the row has
left the state that the change starts from: whoever comes second finds the work done.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway import ledger
from gateway.credit_words import were_returned
from gateway.rows import output_row
from gateway.states import ErrorType, Output
from gateway.tables import LIVE, GenerationRow
from gateway.webhooks.outgoing.events import new_event

MOST_CUT_OFF = 3  # workers that may end while they make one video
CUT_OFF = f"The worker ended {MOST_CUT_OFF} times while it made this video."


def locked(session: Session, generation_id: str) -> GenerationRow | None:
    """A row that nobody else changes until the transaction ends."""
    query = select(GenerationRow).where(GenerationRow.id == generation_id).with_for_update()
    return session.scalars(query).one_or_none()


def submission_begins(row: GenerationRow, now: datetime, *, ttl: timedelta) -> bool:
    """The worker is about to be asked. Committed first, so that a crash is not taken for no try."""
    if row.state != "queued":
        return False
    row.state = "submitted"
    row.submitted_at = now
    row.job_id = None
    row.attempts += 1
    row.checks = min(row.checks, 0)
    row.deadline_at = now + ttl
    _changed(row)
    return True


def submission_sent(row: GenerationRow, attempt: int, now: datetime) -> bool:
    """The worker is asked now. False where the attempt counts no more: another was begun, a job is
    known, or the end was asked for.
    """
    if row.state != "submitted" or row.attempts != attempt or row.job_id is not None:
        return False
    row.submitted_at = now
    return True


def submission_refused(
    row: GenerationRow, now: datetime, *, pause: timedelta, silent: bool
) -> None:
    """The worker took nothing, for sure: back into the queue, or out of it where that was asked.
    `silent`: nobody was there to take it.
    """
    if row.state == "submitted" and row.job_id is None:
        row.checks = row.checks - 1 if silent else 0
        row.state = "queued"
        row.submitted_at = None
        row.deadline_at = None
        row.next_check_at = now + pause
        _changed(row)


def worker_gone(session: Session, row: GenerationRow, now: datetime) -> bool:
    """The worker that had it is gone with its queue, and left no video: it waits anew, and does not
    where that worker is the last of MOST_CUT_OFF that ended while it was at this one. Whether it
    waits.
    """
    if row.state not in ("submitted", "running"):
        return False
    row.cut_off += row.began_at is not None
    if row.cut_off >= MOST_CUT_OFF:
        failed(session, row, "api_error", CUT_OFF, now, worker_error="the worker ended with it")
        return False
    row.state = "queued"
    row.job_id = row.submitted_at = row.deadline_at = row.began_at = row.progress = None
    row.hinted_at = row.troubled_at = None
    row.next_check_at = now
    _changed(row)
    return True


def worker_stopped(row: GenerationRow) -> None:
    """The worker that is at it was told to end, which says nothing against the video."""
    if row.state == "running":
        row.state, row.began_at, row.progress = "submitted", None, None
        _changed(row)


def submission_accepted(
    row: GenerationRow, job_id: str, now: datetime, *, pause: timedelta
) -> bool:
    """The worker took it. False where the row is another job's already, or has ended."""
    if row.state in LIVE and row.job_id in (None, job_id):
        if row.job_id is None:
            row.job_id = job_id
            row.checks = 0
            row.next_check_at = min(row.next_check_at, now + pause)
        return True
    return row.job_id == job_id


def job_revealed(row: GenerationRow, job_id: str, now: datetime, *, ttl: timedelta) -> None:
    """A webhook names the job of an attempt whose answer did not come, or has not come yet.

    One that nobody waits for, since another job has the generation or its video is there, is to be
    cancelled.
    """
    if row.job_id == job_id or row.attempts == 0:
        return
    if row.job_id is not None or row.state == "done":
        # No more than were ever sent, whatever webhooks name.
        if job_id not in row.surplus_jobs and len(row.surplus_jobs) < row.attempts:
            row.surplus_jobs = [*row.surplus_jobs, job_id]
        return
    if row.state == "queued":  # given back meanwhile: what runs already need not run twice
        row.state = "submitted"
        row.submitted_at = now
        row.deadline_at = now + ttl
        _changed(row)
    row.job_id = job_id


def began(row: GenerationRow, at: datetime) -> None:
    """The worker is at it."""
    if row.state in LIVE and row.began_at is None:
        row.began_at = at
        if row.state == "submitted":
            row.state = "running"
        _changed(row)


def progressed(row: GenerationRow, progress: dict[str, Any]) -> None:
    """A report that is news."""
    if row.state in ("running", "cancelling"):
        row.progress = progress
        row.checks = 0
        _changed(row)


def cancel_asked(session: Session, row: GenerationRow, now: datetime) -> None:
    """The owner wants no more of it. What no worker was asked for ends at once."""
    if row.state == "queued":
        row.cancel_asked_at = now
        cancelled(session, row, now)
    elif row.state in ("submitted", "running"):
        row.state = "cancelling"
        row.cancel_asked_at = now
        row.next_check_at = now
        row.checks = 0
        _changed(row)


def finished(session: Session, row: GenerationRow, output: Output, now: datetime) -> None:
    """The video is there: it is paid for, even if its end was asked for. After a failure it is
    kept for free, and not at all of what was deleted: its files are the caller's to delete.
    """
    if row.state in LIVE:
        row.output = output_row(output)
        _end(row, "done", now)
        ledger.capture(session, row, now)
        _tell(session, row, "completed", now)
    elif row.state == "failed" and row.output is None and row.deleted_at is None:
        row.output = output_row(output)
        _changed(row)


def failed(
    session: Session,
    row: GenerationRow,
    error: ErrorType,
    sentence: str,
    now: datetime,
    *,
    worker_error: str | None = None,
) -> None:
    """There is no video: the credits go back. `sentence` is for people."""
    if row.state not in LIVE:
        return
    row.error_type = error
    row.error_message = f"{sentence} {were_returned(row.credits)}"
    row.worker_error = worker_error
    _end(row, "failed", now)
    ledger.release(session, row, now)
    _tell(session, row, "failed", now)


def no_video(
    session: Session,
    row: GenerationRow,
    error: ErrorType,
    sentence: str,
    now: datetime,
    *,
    worker_error: str | None,
) -> None:
    """The worker has ended without what was asked for: as its owner wanted, or failed."""
    if row.state == "cancelling":
        cancelled(session, row, now)
    else:
        failed(session, row, error, sentence, now, worker_error=worker_error)


def cancelled(session: Session, row: GenerationRow, now: datetime) -> None:
    """It has stopped: the credits go back."""
    if row.state not in LIVE:
        return
    _end(row, "cancelled", now)
    ledger.release(session, row, now)
    _tell(session, row, "canceled", now)


def _end(row: GenerationRow, state: str, now: datetime) -> None:
    row.state = state
    row.ended_at = now
    row.hinted_at = None
    row.troubled_at = None
    _changed(row)


def _changed(row: GenerationRow) -> None:
    row.version += 1


def _tell(session: Session, row: GenerationRow, what: str, now: datetime) -> None:
    """The event for the account's receiver, where it named one."""
    if row.webhook_url is not None:
        session.add(new_event(row, row.webhook_url, what, now))
    session.flush()
