"""The tables. What must never happen is forbidden here, by constraints, not by `if`s elsewhere."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

LIVE = ("queued", "submitted", "running", "cancelling")
ENDED = ("done", "failed", "cancelled")
KINDS = ("grant", "hold", "capture", "release", "adjustment")
SETTLEMENTS = ("capture", "release")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC on both databases; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC. A moment without a zone is refused: it could be any."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment must have a time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """What all tables share: constraints have names, so that a migration can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, str: String}  # noqa: RUF012


class AccountRow(Table):
    """Who pays. `available` and `held` are the sums of the ledger, kept beside it."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("available >= 0", name="available"),
        CheckConstraint("held >= 0", name="held"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    available: Mapped[int] = mapped_column(BigInteger, default=0)  # credits
    held: Mapped[int] = mapped_column(BigInteger, default=0)
    webhook_secret: Mapped[str]  # "whsec_…": signs what is sent to the account's receivers
    created_at: Mapped[datetime]


class KeyRow(Table):
    """An API key, of which only the digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    shown: Mapped[str]  # its first characters, by which people know it
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SessionRow(Table):
    """A login of the studio, by the digest of its cookie."""

    __tablename__ = "sessions"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    csrf: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class GenerationRow(Table):
    """One video that was asked for; `gateway.rows` reads its columns as one state."""

    __tablename__ = "generations"
    __table_args__ = (
        CheckConstraint(_one_of("state", LIVE + ENDED), name="state"),
        CheckConstraint("credits > 0", name="credits"),
        CheckConstraint(
            f"({_one_of('state', ENDED)}) = (ended_at IS NOT NULL)", name="ended_has_its_moment"
        ),
        CheckConstraint("state <> 'done' OR output IS NOT NULL", name="done_has_its_output"),
        CheckConstraint(
            "(state = 'failed') = (error_type IS NOT NULL)", name="failed_has_its_error"
        ),
        Index("ix_generations_account_id_id", "account_id", "id"),
        # What the last ones like it took, and how many wait before it.
        Index("ix_generations_state_mode_resolution_id", "state", "mode", "resolution", "id"),
        # How many an account has under way.
        Index(
            "ix_generations_account_id_live",
            "account_id",
            sqlite_where=text(_one_of("state", LIVE)),
            postgresql_where=text(_one_of("state", LIVE)),
        ),
        Index(
            "ix_generations_live",
            "next_check_at",
            sqlite_where=text(_one_of("state", LIVE)),
            postgresql_where=text(_one_of("state", LIVE)),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    state: Mapped[str]
    form: Mapped[dict[str, Any]]  # every default filled in
    mode: Mapped[str]  # the form's
    resolution: Mapped[str]
    credits: Mapped[int]  # frozen when it was accepted
    price_version: Mapped[str]
    webhook_url: Mapped[str | None]
    favourite: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    job_id: Mapped[str | None] = mapped_column(index=True)
    surplus_jobs: Mapped[list[str]] = mapped_column(JSON, default=list)  # still to be cancelled
    attempts: Mapped[int] = mapped_column(default=0)  # submissions that were begun
    # Times that a worker of this machine ended while it made this; waiting does not count.
    cut_off: Mapped[int] = mapped_column(default=0)
    submitted_at: Mapped[datetime | None]  # the last of them
    began_at: Mapped[datetime | None]
    cancel_asked_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]  # when waiting for the worker is over
    next_check_at: Mapped[datetime]  # when something is to be done for it
    hinted_at: Mapped[datetime | None] = mapped_column(index=True)  # a webhook came, not looked at
    # In a row without news, for the pause between two; below 0 what nobody answered.
    checks: Mapped[int] = mapped_column(default=0)
    troubled_at: Mapped[datetime | None]  # since when its result cannot be had

    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[str | None]  # that made it, as its worker said
    output: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error_type: Mapped[str | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    worker_error: Mapped[str | None] = mapped_column(Text)  # for the operator only
    queue_ms: Mapped[int | None]
    execution_ms: Mapped[int | None]


class LedgerRow(Table):
    """One movement of credits. Rows are added and never changed."""

    __tablename__ = "ledger"
    __table_args__ = (
        CheckConstraint(_one_of("kind", KINDS), name="kind"),
        CheckConstraint(
            "(kind = 'grant' AND amount > 0 AND held_delta = 0)"
            " OR (kind = 'hold' AND amount < 0 AND held_delta = -amount)"
            " OR (kind = 'capture' AND amount >= 0 AND held_delta < 0 AND amount < -held_delta)"
            " OR (kind = 'release' AND amount > 0 AND held_delta = -amount)"
            " OR (kind = 'adjustment' AND amount <> 0 AND held_delta = 0)",
            name="amounts",
        ),
        CheckConstraint(
            "(kind IN ('hold', 'capture', 'release')) = (generation_id IS NOT NULL)",
            name="generation",
        ),
        UniqueConstraint("generation_id", "kind"),
        Index(
            "uq_ledger_settlement",
            "generation_id",
            unique=True,
            sqlite_where=text(_one_of("kind", SETTLEMENTS)),
            postgresql_where=text(_one_of("kind", SETTLEMENTS)),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    kind: Mapped[str]
    amount: Mapped[int] = mapped_column(BigInteger)
    held_delta: Mapped[int] = mapped_column(BigInteger)
    generation_id: Mapped[str | None] = mapped_column(ForeignKey("generations.id"))
    price_version: Mapped[str | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime]


class IdempotencyRow(Table):
    """A key that a create was sent with, and what it made."""

    __tablename__ = "idempotency_keys"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    form_sha256: Mapped[str]
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    created_at: Mapped[datetime] = mapped_column(index=True)


class TokenRow(Table):
    """A secret in the address of an inbound webhook, by its digest."""

    __tablename__ = "webhook_tokens"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"), index=True)
    created_at: Mapped[datetime]


class UploadRow(Table):
    """A picture that was taken; its bytes are in the store."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    content_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class EventRow(Table):
    """An event for an account's receiver, written in the transaction of what it tells of."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint(
            _one_of("state", ("pending", "delivered", "refused", "given_up")), name="state"
        ),
        CheckConstraint(
            "(state = 'refused') = (refused_at IS NOT NULL)", name="refused_has_its_moment"
        ),
        UniqueConstraint("generation_id", "type"),
        # Whether a receiver has refused something since it last took something.
        Index("ix_outbox_account_id_url_delivered_at", "account_id", "url", "delivered_at"),
        Index("ix_outbox_account_id_url_refused_at", "account_id", "url", "refused_at"),
        Index(
            "ix_outbox_pending",
            "next_at",
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)  # the header `webhook-id`
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    type: Mapped[str]  # "generation.completed", …
    url: Mapped[str]
    state: Mapped[str] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    last_result: Mapped[str | None]  # what the last attempt was answered, for people
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]  # or not sent, since its receiver had refused another
    # What is sent, the same with every try; None once it is over and its generation was deleted.
    body: Mapped[str | None] = mapped_column(Text)


def is_live() -> ColumnElement[bool]:
    """Whether a generation has not ended, in words that a database knows a partial index by."""
    return GenerationRow.state.in_([literal_column(repr(state)) for state in LIVE])
