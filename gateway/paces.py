"""How long a second of video takes, by what the last ones like it took."""

from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.tables import GenerationRow

REMEMBERED = 20  # finished generations that the time of the next is taken from
FRESH = timedelta(seconds=5)  # in which what was found is told to all who ask

Kind = tuple[str, str]  # mode and resolution


class Paces:
    """Asks the database, but not for everyone who looks. Safe from any thread."""

    def __init__(self) -> None:
        self._found: dict[Kind, tuple[datetime, float | None]] = {}

    def of(self, session: Session, kind: Kind, now: datetime) -> float | None:
        """Seconds of work for a second of video; None where none of the kind has finished."""
        known = self._found.get(kind)
        if known is not None and now < known[0] + FRESH:
            return known[1]
        pace = _pace(session, kind)
        self._found[kind] = (now, pace)
        return pace


def _pace(session: Session, kind: Kind) -> float | None:
    mode, resolution = kind
    query = (
        select(GenerationRow.form, GenerationRow.execution_ms)
        .where(GenerationRow.state == "done", GenerationRow.execution_ms.is_not(None))
        .where(GenerationRow.mode == mode, GenerationRow.resolution == resolution)
        .order_by(GenerationRow.id.desc())
        .limit(REMEMBERED)
    )
    found = [cast("int", ms) / 1000 / form["duration"] for form, ms in session.execute(query)]
    return sum(found) / len(found) if found else None
