"""The ledger: whole credits, rows that are only added. A hold ends in exactly one settlement.

Every function is part of its caller's transaction, so that credits move with the state they belong
to. The database refuses what must not happen: a second settlement, a balance below nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from gateway.refusals import NotFound, Unaffordable
from gateway.tables import LIVE, SETTLEMENTS, AccountRow, GenerationRow, LedgerRow


def locked(session: Session, account_id: str) -> None:
    """Keep an account's credits to this transaction until it ends. Raises NotFound."""
    query = select(AccountRow.id).where(AccountRow.id == account_id)
    if session.scalar(query.with_for_update(key_share=True)) is None:
        raise NotFound(f"there is no account {account_id!r}")


def hold(
    session: Session,
    *,
    account_id: str,
    generation_id: str,
    credits: int,
    price_version: str,
    now: datetime,
) -> None:
    """Set credits aside. Raises Unaffordable where the available ones do not suffice."""
    taken = session.execute(
        update(AccountRow)
        .where(AccountRow.id == account_id, AccountRow.available >= credits)
        .values(available=AccountRow.available - credits, held=AccountRow.held + credits)
        .returning(AccountRow.id)
    )
    if taken.first() is None:
        raise Unaffordable(required=credits, available=balance(session, account_id)[0])
    session.add(
        LedgerRow(
            account_id=account_id,
            kind="hold",
            amount=-credits,
            held_delta=credits,
            generation_id=generation_id,
            price_version=price_version,
            created_at=now,
        )
    )
    session.flush()


def capture(session: Session, row: GenerationRow, now: datetime) -> None:
    """Spend what is held for a generation."""
    _settle(session, row, now, kind="capture", amount=0)


def release(session: Session, row: GenerationRow, now: datetime) -> None:
    """Give back what is held for a generation."""
    _settle(session, row, now, kind="release", amount=row.credits)


def _settle(session: Session, row: GenerationRow, now: datetime, *, kind: str, amount: int) -> None:
    session.execute(
        update(AccountRow)
        .where(AccountRow.id == row.account_id)
        .values(available=AccountRow.available + amount, held=AccountRow.held - row.credits)
    )
    session.add(
        LedgerRow(
            account_id=row.account_id,
            kind=kind,
            amount=amount,
            held_delta=-row.credits,
            generation_id=row.id,
            price_version=row.price_version,
            created_at=now,
        )
    )
    session.flush()


def grant(session: Session, *, account_id: str, credits: int, note: str, now: datetime) -> None:
    """Give credits, 1 or more. Raises NotFound for an account that is not there."""
    _add(session, account_id, "grant", credits, note, now)


def adjust(session: Session, *, account_id: str, credits: int, note: str, now: datetime) -> None:
    """Correct a balance up or down by a row of its own; never below nothing."""
    _add(session, account_id, "adjustment", credits, note, now)


def _add(
    session: Session, account_id: str, kind: str, amount: int, note: str, now: datetime
) -> None:
    changed = session.execute(
        update(AccountRow)
        .where(AccountRow.id == account_id, AccountRow.available + amount >= 0)
        .values(available=AccountRow.available + amount)
        .returning(AccountRow.id)
    )
    if changed.first() is None:
        available = balance(session, account_id)[0]
        raise Unaffordable(required=-amount, available=available)
    session.add(
        LedgerRow(
            account_id=account_id,
            kind=kind,
            amount=amount,
            held_delta=0,
            note=note,
            created_at=now,
        )
    )
    session.flush()


def balance(session: Session, account_id: str) -> tuple[int, int]:
    """The available and the held credits. Raises NotFound."""
    found = session.execute(
        select(AccountRow.available, AccountRow.held).where(AccountRow.id == account_id)
    ).one_or_none()
    if found is None:
        raise NotFound(f"there is no account {account_id!r}")
    return found[0], found[1]


def entries(
    session: Session, account_id: str, *, below: int | None, limit: int
) -> Sequence[LedgerRow]:
    """Rows of an account, newest first; `below` is the id that the last page ended with."""
    query = select(LedgerRow).where(LedgerRow.account_id == account_id)
    if below is not None:
        query = query.where(LedgerRow.id < below)
    return session.scalars(query.order_by(LedgerRow.id.desc()).limit(limit)).all()


def faults(session: Session) -> list[str]:
    """Every way in which credits and states disagree, in sentences; none in a sound database."""
    return [*_balance_faults(session), *_hold_faults(session), *_state_faults(session)]


def _balance_faults(session: Session) -> list[str]:
    amount = func.coalesce(func.sum(LedgerRow.amount), 0)
    held = func.coalesce(func.sum(LedgerRow.held_delta), 0)
    query = (
        select(AccountRow.id, AccountRow.available, AccountRow.held, amount, held)
        .outerjoin(LedgerRow, LedgerRow.account_id == AccountRow.id)
        .group_by(AccountRow.id, AccountRow.available, AccountRow.held)
        .having(or_(AccountRow.available != amount, AccountRow.held != held))
    )
    return [
        f"account {name}: {available} available and {held} held, but its ledger adds up to "
        f"{amounts} and {deltas}"
        for name, available, held, amounts, deltas in session.execute(query)
    ]


def _hold_faults(session: Session) -> list[str]:
    """Held credits must be those of the generations that have not ended."""
    open_credits = func.coalesce(
        func.sum(case((GenerationRow.state.in_(LIVE), GenerationRow.credits), else_=0)), 0
    )
    query = (
        select(AccountRow.id, AccountRow.held, open_credits)
        .outerjoin(GenerationRow, GenerationRow.account_id == AccountRow.id)
        .group_by(AccountRow.id, AccountRow.held)
        .having(AccountRow.held != open_credits)
    )
    return [
        f"account {name}: {held} credits are held, but its open generations come to {wanted}"
        for name, held, wanted in session.execute(query)
    ]


def _state_faults(session: Session) -> list[str]:
    def has(*kinds: str) -> ColumnElement[bool]:
        return exists().where(
            LedgerRow.generation_id == GenerationRow.id, LedgerRow.kind.in_(kinds)
        )

    live = GenerationRow.state.in_(LIVE)
    mine = LedgerRow.generation_id == GenerationRow.id
    rules = {
        "was never paid for": ~has("hold"),
        "goes on, but its credits are settled": and_(live, has(*SETTLEMENTS)),
        "is done, but its credits were not captured": and_(
            GenerationRow.state == "done", ~has("capture")
        ),
        "has ended without a video, but its credits were not released": and_(
            GenerationRow.state.in_(("failed", "cancelled")), ~has("release")
        ),
        "has entries of other credits than its own": exists().where(
            mine, func.abs(LedgerRow.held_delta) != GenerationRow.credits
        ),
        "has entries of another account": exists().where(
            mine, LedgerRow.account_id != GenerationRow.account_id
        ),
    }
    looks = [
        select(GenerationRow.id, literal(sentence)).where(rule) for sentence, rule in rules.items()
    ]
    return [f"generation {name} {said}" for name, said in session.execute(union_all(*looks))]
