"""Databases of both kinds, and a gateway on each."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.postgres import Postgres, serving_postgres
from gateway import database as gateway_database
from gateway.database import Database
from gateway.migrations import migrate
from tests.gateway.house import House


@pytest.fixture(scope="session", autouse=True)
def hasty_sqlite() -> Iterator[None]:
    """SQLite that does not wait for the disk: no test takes the power away. Processes of their own
    wait, as everybody's do.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway_database, "DURABLE", "OFF")
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[tuple[Postgres, str]]:
    """A server, and the name of a database that has all tables."""
    with serving_postgres() as server:
        template = server.create()
        database = Database(server.url(template))
        migrate(database)
        database.close()
        yield server, template


@pytest.fixture(scope="session")
def shared_postgresql(postgres: tuple[Postgres, str]) -> tuple[Postgres, str]:
    """The server, and a database that one test after the other has for itself."""
    server, template = postgres
    return server, server.create(template)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that has all tables; each test copies it."""
    template = tmp_path_factory.mktemp("sqlite") / "gateway.db"
    database = Database(f"sqlite:///{template}")
    migrate(database)
    database.close()
    return template


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An address of each kind of database."""
    if request.param == "sqlite":
        file = tmp_path / "gateway.db"
        shutil.copyfile(request.getfixturevalue("sqlite"), file)
        yield f"sqlite:///{file}"
        return
    server, name = request.getfixturevalue("shared_postgresql")
    yield server.url(name)
    server.empty(name, but=["alembic_version"])


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """A gateway with one account of 500 credits."""
    made = House(database_url, tmp_path)
    yield made
    made.close()
