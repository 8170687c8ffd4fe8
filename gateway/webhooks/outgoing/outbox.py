"""Delivers what the outbox holds: events that were written with the change that they tell of.

Any number of processes may do so at once. An event is claimed for a while before it is sent, so
that one whose process died is sent again: receivers tell repeats by their `webhook-id`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from gateway.clock import Clock
from gateway.database import Database
from gateway.refusals import NotFound
from gateway.side_by_side import work_off
from gateway.tables import AccountRow, EventRow, GenerationRow
from gateway.webhooks.outgoing import signing
from gateway.webhooks.outgoing.kept_secrets import in_use
from gateway.webhooks.outgoing.post import Answered, Unanswered, post
from gateway.webhooks.outgoing.schedule import (
    TRY_SECONDS,
    Again,
    Disabled,
    GivenUp,
    Outcome,
    Taken,
    outcome,
)
from ltx2.worker.json_lines import log_event

logger = logging.getLogger(__name__)
OF_ONE = 2  # receivers of an account that are called at the same time: others want some, too
CLAIMED = timedelta(seconds=4 * TRY_SECONDS)  # longer than a try can take

# url, body, headers -> what the receiver said
Send = Callable[[str, bytes, Mapping[str, str]], Answered | Unanswered]


def sender(*, allow_private: bool) -> Send:
    """Sends for real. `allow_private` is for development: it lets receivers be on this machine."""

    def send(url: str, body: bytes, headers: Mapping[str, str]) -> Answered | Unanswered:
        return post(url, body, headers, timeout_s=TRY_SECONDS, allow_private=allow_private)

    return send


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A claimed event, ready to be sent."""

    id: str
    account_id: str
    url: str
    secrets: list[str]  # each signs
    body: bytes
    tries: int  # this one counted


class Outbox:
    """The events of one database. `count` is told what came of each try; where `leaving`, no more
    are begun.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        send: Send,
        count: Callable[[str], object] | None = None,
        leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._clock = clock
        self._send = send
        self._count = count
        self._leaving = leaving

    def deliver_due(self) -> int:
        """Try every event whose time has come, some at once; how many there were."""
        return work_off(self._claim, self._deliver, name="gateway-webhook", leaving=self._leaving)

    def redeliver(self, event_id: str) -> None:
        """Send an event again, from the first try on. Raises NotFound.

        Its receiver is taken back: what it was refused for counts as given up.
        """
        with self._database.write() as session:
            row = session.get(EventRow, event_id)
            if row is None:
                raise NotFound(f"there is no event {event_id[:64]!r}")
            if row.body is None:
                raise NotFound(f"what {event_id} told of was deleted")
            others = _of_receiver(row.account_id, row.url)
            session.execute(
                update(EventRow)
                .where(*others, EventRow.state == "refused")
                .values(state="given_up", refused_at=None)
            )
            row.state, row.refused_at = "pending", None
            row.attempts = 0
            row.next_at = self._clock.now()

    def _claim(self, most: int, busy: Sequence[_Due]) -> Sequence[_Due]:
        """The oldest that are due, but for accounts whose receivers are being called enough."""
        now = self._clock.now()
        due: list[_Due] = []
        with self._database.write() as session:
            while len(due) < most:
                called = Counter(each.account_id for each in (*busy, *due))
                row = _oldest(session, now, but=[a for a, n in called.items() if n >= OF_ONE])
                if row is None:
                    break
                if _is_disabled(session, row):
                    row.state, row.refused_at = "refused", now
                    row.last_result = "not sent: the receiver took nothing before"
                    continue
                row.attempts += 1
                row.next_at = now + CLAIMED
                due.append(_ready(session, row))
        return due

    def _deliver(self, due: _Due) -> None:
        now = self._clock.now()
        headers = signing.headers(due.secrets, due.id, int(now.timestamp()), due.body)
        said = self._send(due.url, due.body, headers)
        status = said.status if isinstance(said, Answered) else None
        result = f"status {said.status}" if isinstance(said, Answered) else said.why
        with self._database.write() as session:
            row = session.get(EventRow, due.id, with_for_update=True)
            if row is None or row.state != "pending" or row.attempts != due.tries:
                return  # it was asked for again meanwhile
            row.last_result = result
            found = outcome(
                status,
                tries=row.attempts,
                now=self._clock.now(),
                failing_since=lambda: _failing_since(session, row),
            )
            word = _keep(row, found, self._clock.now())
            if row.state != "pending" and _is_deleted(session, row):
                row.body = None
        if self._count is not None:
            self._count(word)
        log_event(logger, "webhook", event=due.id, tries=due.tries, outcome=word, result=result)


def _oldest(session: Session, now: datetime, *, but: Sequence[str]) -> EventRow | None:
    """The event that has been due longest; none of these accounts'."""
    query = (
        select(EventRow)
        .where(EventRow.state == "pending", EventRow.next_at <= now)
        .where(EventRow.account_id.not_in(but))
        .order_by(EventRow.next_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.scalars(query).one_or_none()


def _ready(session: Session, row: EventRow) -> _Due:
    assert row.body is not None, f"{row.id} waits with nothing to tell"
    account = session.get_one(AccountRow, row.account_id)
    return _Due(
        id=row.id,
        account_id=row.account_id,
        url=row.url,
        secrets=in_use(account.webhook_secret),
        body=row.body.encode(),
        tries=row.attempts,
    )


def _keep(row: EventRow, found: Outcome, now: datetime) -> str:
    """Write down what follows from a try; the word for it."""
    match found:
        case Taken():
            row.state, row.delivered_at = "delivered", now
            return "taken"
        case Again(at=at):
            row.next_at = at
            return "again"
        case GivenUp():
            row.state = "given_up"
            return "given_up"
        case Disabled(why=why):
            row.state, row.refused_at, row.last_result = "refused", now, why
            return "disabled"
        case _:
            assert_never(found)


def _of_receiver(account_id: str, url: str) -> tuple[Any, Any]:
    return EventRow.account_id == account_id, EventRow.url == url


def _last_taken(session: Session, row: EventRow) -> datetime | None:
    return _last(session, row, EventRow.delivered_at)


def _last(
    session: Session, row: EventRow, moment: InstrumentedAttribute[datetime | None]
) -> datetime | None:
    """The last of these moments of a receiver: the end of an index, however long its history."""
    query = select(moment).where(*_of_receiver(row.account_id, row.url), moment.is_not(None))
    return session.scalars(query.order_by(moment.desc()).limit(1)).first()


def _is_deleted(session: Session, row: EventRow) -> bool:
    query = select(GenerationRow.deleted_at).where(GenerationRow.id == row.generation_id)
    return session.scalar(query) is not None


def _is_disabled(session: Session, row: EventRow) -> bool:
    """Whether an event of the receiver was refused since it last took one."""
    refused = _last(session, row, EventRow.refused_at)
    if refused is None:
        return False
    taken = _last_taken(session, row)
    return taken is None or refused >= taken


def _failing_since(session: Session, row: EventRow) -> datetime:
    """When the first event came that the receiver did not take since it last took one."""
    query = select(func.min(EventRow.created_at)).where(
        *_of_receiver(row.account_id, row.url),
        EventRow.state != "delivered",
        EventRow.attempts > 0,
    )
    taken = _last_taken(session, row)
    if taken is not None:
        query = query.where(EventRow.created_at > taken)
    return session.scalar(query) or row.created_at
