"""Databases of both kinds, and a gateway on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.postgres import Postgres, serving_postgres
from gateway.database import Database
from gateway.migrations import migrate
from tests.gateway.house import House


@pytest.fixture(scope="session")
def postgres() -> Iterator[tuple[Postgres, str]]:
    """A server, and the name of a database that has all tables."""
    with serving_postgres() as server:
        template = server.create()
        database = Database(server.url(template))
        migrate(database)
        database.close()
        yield server, template


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An address of each kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'gateway.db'}"
        return
    server, template = request.getfixturevalue("postgres")
    name = server.create(template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """A gateway with one account of 500 credits."""
    made = House(database_url, tmp_path)
    yield made
    made.close()
