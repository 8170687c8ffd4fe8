"""The generations of accounts: created once, listed, cancelled, deleted, marked."""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gateway import ledger, transitions
from gateway.clock import Clock
from gateway.database import Database
from gateway.desk import Account, Form, Page
from gateway.forms import Order
from gateway.ids import is_id, new_id
from gateway.paces import Paces
from gateway.prices import Price
from gateway.refusals import Conflict, KeyReused, Limited, NotFound, Problem, Problems
from gateway.rows import is_unanswered, read_generation, seconds_left
from gateway.states import Generation, Status
from gateway.tables import LIVE, GenerationRow, IdempotencyRow, is_live
from gateway.webhooks.outgoing.events import forget_bodies

KEY = re.compile(r"[\x20-\x7e]{1,255}")
MOST_LISTED = 100
SEEDS = 2**32  # of those drawn here: every language reads them without loss
# What is left of a deleted form's words, pictures, styles and receiver.
_UNSAID = {
    "prompt": "",
    "negative_prompt": None,
    "image": None,
    "last_image": None,
    "loras": [],
    "webhook_url": None,
}
_PACED = ("queued", "submitted", "running")  # whose end is foretold


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many generations an account may have at once, and how soon to ask again."""

    most: int = 20
    retry_seconds: int = 15


class Generations:
    """All calls on generations that people make. `ordered` is told of one to be submitted,
    `called_off` of one whose end somebody asked for.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        queue: Queue,
        ordered: Callable[[], object] = lambda: None,
        called_off: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._queue = queue
        self._ordered = ordered
        self._called_off = called_off
        self._paces = Paces()

    def replayed(self, account: Account, form: Form, key: str | None) -> Generation | None:
        """What a key made before, as it is now. Raises KeyReused, or Problems for no key."""
        if key is None:
            return None
        if not KEY.fullmatch(key):
            told = "Idempotency-Key must be 1 to 255 printable ASCII characters"
            raise Problems([Problem(field=None, message=told)])
        with self._database.read() as session:
            row = self._known(session, account, form, key)
            return None if row is None else self._view(session, [row], replayed=True)[0]

    def create(
        self,
        account: Account,
        form: Form,
        key: str | None,
        order: Order,
        price: Price,
        version: str,
    ) -> Generation:
        """Take an order that was judged and priced: the row, the hold and the key are one.

        Raises Unaffordable, Limited; KeyReused where another call was first with the key.
        """
        try:
            with self._database.write() as session:
                # One of an account's calls at a time: what the others made, spent and queued is
                # seen by this one, and a second click finds what the first one made.
                ledger.locked(session, account.id)
                again = None if key is None else self._known(session, account, form, key)
                row = again or self._add(session, account, order, price, version)
                if key is not None and again is None:
                    self._remember(session, row, form, key)
        except IntegrityError:
            # Another process was first with the key, between the question and the answer.
            earlier = self.replayed(account, form, key)
            if earlier is None:
                raise
            return earlier
        self._ordered()
        with self._database.read() as session:  # whoever creates next need not wait for this
            return self._view(session, [row], replayed=again is not None)[0]

    def get(self, account: Account, generation_id: str) -> Generation:
        """One of the account's own. Raises NotFound."""
        with self._database.read() as session:
            return self._view(session, [self._own(session, account, generation_id)])[0]

    def page(
        self,
        account: Account,
        *,
        cursor: str | None,
        limit: int,
        status: Status | None,
        favourites: bool,
        oldest_first: bool,
    ) -> Page:
        """Newest first, or oldest first. Raises Problems for a cursor or a limit that is none."""
        problems: list[Problem] = []
        if cursor is not None and not is_id("gen", cursor):
            problems.append(Problem(field="cursor", message="cursor must be one that a list gave"))
        if not 1 <= limit <= MOST_LISTED:
            told = f"limit must be a whole number from 1 to {MOST_LISTED}"
            problems.append(Problem(field="limit", message=told))
        if problems:
            raise Problems(problems)
        query = select(GenerationRow).where(
            GenerationRow.account_id == account.id, GenerationRow.deleted_at.is_(None)
        )
        if cursor is not None:
            beyond = GenerationRow.id > cursor if oldest_first else GenerationRow.id < cursor
            query = query.where(beyond)
        if status is not None:
            query = query.where(has_status(status))
        if favourites:
            query = query.where(GenerationRow.favourite)
        with self._database.read() as session:
            order = GenerationRow.id.asc() if oldest_first else GenerationRow.id.desc()
            rows = session.scalars(query.order_by(order).limit(limit + 1)).all()
            items = self._view(session, rows[:limit])
        return Page(
            items=tuple(items), next_cursor=rows[limit - 1].id if len(rows) > limit else None
        )

    def cancel(self, account: Account, generation_id: str) -> Generation:
        """Ask for the end; what has ended stays as it is. Raises NotFound."""
        with self._database.write() as session:
            row = self._own(session, account, generation_id, lock=True)
            transitions.cancel_asked(session, row, self._clock.now())
            session.flush()
            seen = self._view(session, [row])[0]
        self._called_off()
        return seen

    def delete(self, account: Account, generation_id: str) -> None:
        """Take it out of every list and forget its words; its files are the caller's to delete.

        Raises NotFound, Conflict.
        """
        with self._database.write() as session:
            row = self._own(session, account, generation_id, lock=True)
            if row.state in LIVE:
                raise Conflict("this generation has not ended; cancel it first")
            row.deleted_at = now = self._clock.now()
            row.form = {**row.form, **_UNSAID}
            row.webhook_url = None  # events that wait have their own
            row.hinted_at = now  # what still comes is deleted, too
            if row.output is not None:
                row.output = {**row.output, "prompt": "", "warnings": []}
            row.worker_error = None
            forget_bodies(session, row.id)
            row.version += 1

    def favourite(self, account: Account, generation_id: str, *, on: bool) -> Generation:
        """Mark it, or unmark it. Raises NotFound."""
        with self._database.write() as session:
            row = self._own(session, account, generation_id, lock=True)
            if row.favourite != on:
                row.favourite = on
                row.version += 1
            session.flush()
            return self._view(session, [row])[0]

    def _own(
        self, session: Session, account: Account, generation_id: str, *, lock: bool = False
    ) -> GenerationRow:
        row = None
        if is_id("gen", generation_id):
            row = (
                transitions.locked(session, generation_id)
                if lock
                else session.get(GenerationRow, generation_id)
            )
        if row is None or row.account_id != account.id or row.deleted_at is not None:
            raise NotFound(f"there is no generation {generation_id[:64]!r}")
        return row

    def _add(
        self, session: Session, account: Account, order: Order, price: Price, version: str
    ) -> GenerationRow:
        now = self._clock.now()
        self._check_queue(session, account)
        row = GenerationRow(
            id=new_id("gen", now),
            account_id=account.id,
            state="queued",
            form=dict(order.form),
            mode=order.mode.mode,
            resolution=order.resolution.id,
            credits=price.credits,
            price_version=version,
            webhook_url=order.webhook_url,
            created_at=now,
            next_check_at=now,
        )
        session.add(row)
        session.flush()
        ledger.hold(
            session,
            account_id=account.id,
            generation_id=row.id,
            credits=price.credits,
            price_version=version,
            now=now,
        )
        return row

    def _check_queue(self, session: Session, account: Account) -> None:
        mine = and_(GenerationRow.account_id == account.id, is_live())
        count = session.scalar(select(func.count()).where(mine)) or 0
        if count >= self._queue.most:
            raise Limited(
                f"{count} generations are queued or running, the most at once is "
                f"{self._queue.most}; wait for one to end",
                kind="concurrency",
                retry_after=self._queue.retry_seconds,
            )

    def _remember(self, session: Session, row: GenerationRow, form: Form, key: str) -> None:
        session.add(
            IdempotencyRow(
                account_id=row.account_id,
                key=key,
                form_sha256=form_digest(form),
                generation_id=row.id,
                created_at=row.created_at,
            )
        )
        session.flush()

    def _known(
        self, session: Session, account: Account, form: Form, key: str
    ) -> GenerationRow | None:
        """What a key made before. Raises KeyReused."""
        known = session.get(IdempotencyRow, (account.id, key))
        if known is None:
            return None
        if known.form_sha256 != form_digest(form):
            raise KeyReused("this Idempotency-Key was used with another request; use a new one")
        row = session.get_one(GenerationRow, known.generation_id)
        if row.deleted_at is not None:
            raise KeyReused("what this Idempotency-Key made was deleted; use a new key")
        return row

    def _view(
        self, session: Session, rows: Sequence[GenerationRow], *, replayed: bool = False
    ) -> list[Generation]:
        now = self._clock.now()
        positions = _positions(session, rows)
        kinds = {(row.mode, row.resolution) for row in rows if row.state in _PACED}
        paces = {kind: self._paces.of(session, kind, now) for kind in kinds}
        return [
            read_generation(
                row,
                position=positions.get(row.id),
                eta_seconds=_eta(row, paces.get((row.mode, row.resolution)), now),
                replayed=replayed,
            )
            for row in rows
        ]


def form_digest(form: Mapping[str, object]) -> str:
    """SHA-256 of a form whatever the order of its fields."""
    text = json.dumps(form, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def draw_seed() -> int:
    """A seed for a form that has none."""
    return secrets.randbelow(SEEDS)


def has_status(status: Status) -> ColumnElement[bool]:
    """Rows that have a status of the API, as `Generation.status` says it."""
    state, begun = GenerationRow.state, GenerationRow.began_at.is_not(None)
    stopping = state == "cancelling"
    return {
        "queued": or_(state.in_(("queued", "submitted")), and_(stopping, ~begun)),
        "in_progress": or_(state == "running", and_(stopping, begun)),
        "completed": state == "done",
        "failed": state == "failed",
        "canceled": state == "cancelled",
    }[status]


def _positions(session: Session, rows: Sequence[GenerationRow]) -> dict[str, int]:
    """Of those that no worker is at yet: one more than those before it."""
    waiting = ("queued", "submitted")
    asked = [row.id for row in rows if row.state in waiting]
    if not asked:
        return {}
    line = (
        select(GenerationRow.id, func.row_number().over(order_by=GenerationRow.id).label("number"))
        .where(GenerationRow.state.in_(waiting))
        .subquery()
    )
    query = select(line.c.id, line.c.number).where(line.c.id.in_(asked))
    return {name: number for name, number in session.execute(query)}  # noqa: C416 - rows are no pairs


def _eta(row: GenerationRow, pace: float | None, now: datetime) -> float | None:
    """Seconds to the end: what the worker says, else what the last ones like it took."""
    if row.state not in _PACED or is_unanswered(row):
        return None
    said = seconds_left(row.progress, now)
    if said is not None:
        return said
    if pace is None:
        return None
    usual = pace * row.form["duration"]
    if row.state != "running" or row.began_at is None:
        return usual
    return max(0.0, usual - (now - row.began_at) / timedelta(seconds=1))
