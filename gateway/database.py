"""The database: SQLite in a file, or PostgreSQL by its URL. The same SQL runs on both."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.refusals import Unavailable
from ltx2.errors import ConfigError

logger = logging.getLogger(__name__)
BUSY_SECONDS = 30.0  # that a writer waits for another one
DURABLE = "FULL"  # SQLite's `synchronous`: what was committed outlives a loss of power
REACH_SECONDS = 5  # for a connection to PostgreSQL, and for one that is free
# To PostgreSQL at once, from one process: more would only wait for each other, since Python runs
# one thread at a time. The loops have some of their own, so that no caller waits behind them.
CONNECTIONS, LOOP_CONNECTIONS = 4, 2
# What is raised where the database is away, or too busy: it may work the next time.
AWAY = (exc.InterfaceError, exc.OperationalError, exc.TimeoutError)
_WRITES = "ltx2_writes"


class Database:
    """Sessions on one database. `read` may run beside writers, `write` is one transaction."""

    def __init__(self, url: str, *, connections: int = CONNECTIONS) -> None:
        self.engine = _engine(url, connections)
        self._writing = self.engine.execution_options(**{_WRITES: True})
        # SQLite's reading transactions are of one moment by themselves.
        moment = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**moment)

    @property
    def is_sqlite(self) -> bool:
        """Whether one process at a time may use it."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: all of it is there at the end of the block, or on an error nothing."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A view of one moment; nothing is written."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Close all connections; one that a thread still uses, when it is given back."""
        event.listen(self.engine.pool, "checkin", _end)  # first, or one may slip in between
        self.engine.dispose()


def sqlite_file(url: str) -> Path | None:
    """The file that one process at a time may use; None for a server's database.

    Raises ConfigError for a URL of neither kind.
    """
    database = Database(url)
    try:
        file = database.engine.url.database
        return Path(file).absolute() if database.is_sqlite and file else None
    finally:
        database.close()


def unavailable(error: Exception) -> Unavailable:
    """What callers are told of one of AWAY, which is logged."""
    logger.error("the database cannot be used: %s", getattr(error, "orig", None) or error)
    return Unavailable("the database cannot be reached now; try again in a moment")


def _engine(url: str, connections: int) -> Engine:
    """Raises ConfigError for a URL that names neither of the two databases."""
    wanted = "sqlite:///file.db or postgresql://user:password@host/name"
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise ConfigError(f"LTX2_GATEWAY_DATABASE must be {wanted}") from None
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigError(f"LTX2_GATEWAY_DATABASE must name a file, as {wanted}")
            return _sqlite(str(parsed))
        case "postgresql":
            psycopg = parsed.set(drivername="postgresql+psycopg")
            patience = (
                {} if "connect_timeout" in parsed.query else {"connect_timeout": REACH_SECONDS}
            )
            return create_engine(
                psycopg,
                connect_args=patience,
                pool_pre_ping=True,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=REACH_SECONDS,
            )
        case name:
            raise ConfigError(f"LTX2_GATEWAY_DATABASE must be {wanted}; {name} is not supported")


def _end(_connection: object, record: ConnectionPoolEntry) -> None:
    record.invalidate()


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        # Transactions are begun below: the driver's own way would begin one only before the first
        # write, and reading first would then fail where another writer came between.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", f"synchronous = {DURABLE}", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
