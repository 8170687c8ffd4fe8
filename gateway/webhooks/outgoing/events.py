"""What an event tells, written down with it: every try sends the same bytes."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from gateway.api import views
from gateway.ids import new_id
from gateway.rows import read_generation
from gateway.tables import EventRow, GenerationRow


def new_event(row: GenerationRow, url: str, what: str, now: datetime) -> EventRow:
    """The event of a generation that has just ended "completed", "failed" or "canceled"."""
    kind = f"generation.{what}"
    seen = read_generation(row, position=None, eta_seconds=None)
    return EventRow(
        id=new_id("evt", now),
        account_id=row.account_id,
        generation_id=row.id,
        type=kind,
        url=url,
        next_at=now,
        created_at=now,
        body=body_of(kind, now, views.generation(seen).model_dump(mode="json")),
    )


def body_of(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """What is sent and signed: the same bytes, so the receiver must verify them as they come."""
    document = {"type": kind, "timestamp": at.isoformat(), "data": data}
    return json.dumps(document, separators=(",", ":"))


def forget_bodies(session: Session, generation_id: str) -> None:
    """Forget what the events of a deleted generation told; one that waits still has to."""
    over = EventRow.generation_id == generation_id, EventRow.state != "pending"
    session.execute(update(EventRow).where(*over).values(body=None))
