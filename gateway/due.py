"""Which generations are to be looked at now, each by one process at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from gateway.clips import FETCH_SECONDS
from gateway.tables import LIVE, GenerationRow

# In which another process leaves a generation alone: longer than a look takes.
LEASE = timedelta(seconds=FETCH_SECONDS + 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A generation as it was when the platform was asked."""

    id: str
    state: str
    job_id: str | None
    surplus_jobs: Sequence[str]
    model: str  # that was asked for
    mode: str
    attempts: int
    submitted_at: datetime | None
    began_at: datetime | None
    deadline_at: datetime | None
    troubled_at: datetime | None
    deleted: bool

    @property
    def deadline(self) -> datetime:
        """When waiting for the worker is over."""
        assert self.deadline_at is not None, f"{self.id} was asked about before it was submitted"
        return self.deadline_at


def all_now(session: Session, now: datetime) -> None:
    """Have every generation that was submitted and has not ended be due."""
    query = select(GenerationRow).where(GenerationRow.state.in_(LIVE))
    for row in session.scalars(query.where(GenerationRow.state != "queued")):
        row.next_check_at = min(row.next_check_at, now)


def claimed(session: Session, now: datetime, *, most: int, busy: Sequence[str]) -> Sequence[Looked]:
    """Up to `most` that are due, but those of the ids in `busy`, for us alone."""
    asked = GenerationRow.state.in_([each for each in LIVE if each != "queued"])
    due = and_(asked, GenerationRow.next_check_at <= now)
    # A hint for what is queued waits, so that its submission does not.
    hinted = and_(GenerationRow.hinted_at <= now, GenerationRow.state != "queued")
    query = (
        select(GenerationRow)
        .where(or_(due, hinted), GenerationRow.id.not_in(busy))
        .order_by(GenerationRow.next_check_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    rows = session.scalars(query).all()
    for row in rows:
        row.hinted_at = None
        row.next_check_at = now + LEASE
    return [_looked(row) for row in rows]


def _looked(row: GenerationRow) -> Looked:
    return Looked(
        id=row.id,
        state=row.state,
        job_id=row.job_id,
        surplus_jobs=tuple(row.surplus_jobs),
        model=str(row.form["model"]),
        mode=row.mode,
        attempts=row.attempts,
        submitted_at=row.submitted_at,
        began_at=row.began_at,
        deadline_at=row.deadline_at,
        troubled_at=row.troubled_at,
        deleted=row.deleted_at is not None,
    )
