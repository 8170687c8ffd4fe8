"""Tidying up: what has had its time is forgotten. Any process may do it, any number of times."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from gateway.database import Database
from gateway.stores import StoreFailed
from gateway.tables import (
    ENDED,
    EventRow,
    GenerationRow,
    IdempotencyRow,
    SessionRow,
    TokenRow,
)
from gateway.uploads import Uploads

KEYS_KEPT = timedelta(hours=48)  # of idempotency
TOKENS_KEPT = timedelta(days=7)  # after a generation's end: no platform sends later
# Events that are over may be asked for once more until then; a receiver that was refused for good
# and sent nothing else since is forgotten with them.
EVENTS_KEPT = timedelta(days=30)


def sweep(database: Database, uploads: Uploads, now: datetime) -> None:
    """Delete keys of idempotency, webhook tokens, logins, events and uploads that are over."""
    ended = select(GenerationRow.id).where(
        GenerationRow.state.in_(ENDED), GenerationRow.ended_at <= now - TOKENS_KEPT
    )
    # From the delivery on: what a receiver took last must outlive what it refused before.
    event_over = func.coalesce(EventRow.delivered_at, EventRow.refused_at, EventRow.created_at)
    for old in (
        delete(IdempotencyRow).where(IdempotencyRow.created_at <= now - KEYS_KEPT),
        delete(TokenRow).where(TokenRow.generation_id.in_(ended)),
        delete(SessionRow).where(SessionRow.expires_at <= now),
        delete(EventRow).where(EventRow.state != "pending", event_over <= now - EVENTS_KEPT),
    ):
        with database.write() as session:
            session.execute(old)
    uploads.keep_named()
    try:
        while uploads.sweep():
            pass
    except StoreFailed:
        return  # those that are left are found again
