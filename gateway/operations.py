"""What an operator does to a gateway from the command line, on its database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from gateway import ledger
from gateway.accounts import Accounts
from gateway.backends import Unreachable
from gateway.clock import SystemClock
from gateway.database import Database
from gateway.deployed import ask_worker
from gateway.migrations import migrate
from gateway.opening import open_backend, open_store
from gateway.refusals import Refusal
from gateway.sold import last_told
from gateway.stores import StoreFailed
from gateway.webhooks.outgoing.outbox import Outbox, sender
from ltx2.errors import BadRequest, ConfigError, Ltx2Error
from ltx2.gateway_settings import GatewaySettings


@contextmanager
def on_database() -> Iterator[Database]:
    """The settings' database, brought up to date. Refusals come out as errors of the command's."""
    with _as_it_is() as database:
        migrate(database)
        try:
            yield database
        except Refusal as error:
            raise BadRequest(str(error)) from error


@contextmanager
def _as_it_is() -> Iterator[Database]:
    """The settings' database, whatever version made it."""
    settings = GatewaySettings.from_env()
    assert settings.database is not None
    settings.folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    try:
        yield database
    except SQLAlchemyError as error:
        raise ConfigError(f"the database cannot be used: {_first_line(error)}") from error
    finally:
        database.close()


@contextmanager
def opened() -> Iterator[Accounts]:
    """The accounts of the settings' database."""
    with on_database() as database:
        yield Accounts(database, SystemClock())


def migrated() -> tuple[str | None, str]:
    """The revision before and after."""
    with _as_it_is() as database:
        return migrate(database)


def redelivered(event_id: str) -> None:
    """Put an event back to its first try. Raises BadRequest for one that is not there."""
    with on_database() as database:
        Outbox(database, SystemClock(), send=sender(allow_private=False)).redeliver(event_id)


def examine() -> dict[str, list[str]]:
    """Faults by part; empty lists where all is well."""
    return {"ledger": _looked(_ledger), "worker": _looked(_worker), "store": _looked(_store)}


def _looked(look: Callable[[], list[str]]) -> list[str]:
    try:
        return look()
    except Ltx2Error as error:
        return [str(error)]


def _ledger() -> list[str]:
    with on_database() as database, database.read() as session:
        return ledger.faults(session)


def _worker() -> list[str]:
    settings = GatewaySettings.from_env()
    backend = open_backend(settings)
    try:
        found = backend.health()
        if not found.ok:
            return [found.detail]
    finally:
        backend.close()
    try:
        told = ask_worker(settings)
    except Unreachable:  # it takes jobs, and is loading its model or busy with one
        told = None
    return _last_video(settings) if told is None else told


def _last_video(settings: GatewaySettings) -> list[str]:
    with on_database() as database, database.read() as session:
        told = last_told(session, settings.checkpoint)
    return [] if told is None else [told]


def _store() -> list[str]:
    try:
        open_store(GatewaySettings.from_env()).check()
    except StoreFailed as error:
        return [str(error)]
    return []


def _first_line(error: SQLAlchemyError) -> str:
    """What the driver said, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
