"""Migrations make the tables, and the tables forbid what must never happen. Both databases."""

import socket
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import QueuePool

from gateway import ledger
from gateway.database import AWAY, Database
from gateway.migrations import FOLDER, migrate
from gateway.refusals import NotFound, Unaffordable
from gateway.tables import AccountRow, GenerationRow, LedgerRow, Moment, Table
from ltx2.errors import ConfigError
from tests.gateway.house import COST, CREDITS

NOW = datetime(2026, 12, 2, tzinfo=UTC)


def same_type(_context, _stored, _meta, _stored_type, meta_type):
    return False if isinstance(meta_type, Moment) else None


def test_migrations_make_exactly_the_tables_of_the_code(house):
    with house.core.database.engine.connect() as connection:
        options = {"compare_type": same_type}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []


def test_migrating_twice_changes_nothing_the_second_time(house):
    assert migrate(house.core.database) == ("0003", "0003")


@pytest.fixture(params=["sqlite", "postgresql"])
def bare(request, tmp_path):
    """A database of each kind that nothing was ever made in."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'bare.db'}")
    else:
        server, _ = request.getfixturevalue("postgres")
        made = Database(server.url(server.create()))
    yield made
    made.close()


def bring_to(revision, connection):
    """The tables as an earlier version left them."""
    script = ScriptDirectory(str(FOLDER))
    steps = {"fn": lambda at, _: script._upgrade_revs(revision, at), "destination_rev": revision}
    with EnvironmentContext(Config(), script, **steps) as environment:
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()


def first_generation(name, **values):
    """A row as the first version wrote it."""
    return {
        "id": name,
        "account_id": "acc_1",
        "form": {"prompt": "A kite."},
        "mode": "fast",
        "resolution": "720p",
        "credits": COST,
        "price_version": "1",
        "favourite": False,
        "version": 1,
        "created_at": NOW,
        "surplus_jobs": [],
        "attempts": 1,
        "next_check_at": NOW,
        "checks": 0,
        **values,
    }


def test_generations_of_the_first_version_are_read_by_this_one(bare):
    account = {"id": "acc_1", "name": "A", "available": 0, "held": COST, "webhook_secret": "s"}
    done = {"state": "done", "ended_at": NOW, "output": {"seed": 7}}
    with bare.write() as session:
        bring_to("0001", session.connection())
        first = MetaData()
        first.reflect(session.connection(), only=["accounts", "generations"])
        session.execute(first.tables["accounts"].insert().values(**account, created_at=NOW))
        for row in (first_generation("gen_1", **done), first_generation("gen_2", state="queued")):
            session.execute(first.tables["generations"].insert().values(**row))
    assert migrate(bare) == ("0001", "0003")
    with bare.read() as session:
        rows = session.query(GenerationRow).order_by(GenerationRow.id).all()
    assert [(row.id, row.state, row.output) for row in rows] == [
        ("gen_1", "done", {"seed": 7}),
        ("gen_2", "queued", None),
    ]
    assert [(row.cut_off, row.checkpoint) for row in rows] == [(0, None)] * 2
    assert {row.created_at for row in rows} == {NOW}


@pytest.fixture
def newer(house):
    """A database that a later version has migrated, for as long as the test lasts."""

    def marked(version):
        with house.core.database.write() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))

    with house.core.database.read() as session:
        before = session.scalar(text("SELECT version_num FROM alembic_version"))
    marked("9999")
    yield house.core.database
    marked(before)


def test_a_database_of_a_newer_version_is_refused(newer):
    with pytest.raises(ConfigError, match="used by a newer one"):
        migrate(newer)


@pytest.mark.parametrize("url", ["mysql://a/b", "sqlite://", "nonsense", "sqlite:///:memory:"])
def test_other_databases_are_refused_with_what_is_taken(url):
    with pytest.raises(ConfigError, match=r"sqlite:///file\.db or postgresql://"):
        Database(url)


def test_nobody_waits_long_for_a_postgresql_that_does_not_answer():
    address = "postgresql://gateway@127.0.0.1:9/x"
    pool = Database(address).engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.timeout() == 5.0
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the line, and says nothing
        port = mute.getsockname()[1]
        database = Database(f"postgresql://gateway@127.0.0.1:{port}/x")
        with pytest.raises(AWAY), database.read() as session:
            session.execute(text("SELECT 1"))


def test_what_is_in_use_as_a_database_is_closed_ends_when_it_is_given_back(database_url):
    database = Database(database_url)
    with database.read() as session:
        driver = session.connection().connection.driver_connection
        database.close()
        assert session.scalar(text("SELECT 1")) == 1
    with pytest.raises(Exception, match="closed"):
        driver.cursor()


def test_a_moment_comes_back_in_utc_and_needs_a_zone(house):
    name = house.create().id
    assert house.row(name).created_at == house.clock.now()
    assert house.row(name).created_at.tzinfo is UTC
    with house.core.database.read() as session, pytest.raises(Exception, match="time zone"):
        session.execute(
            update(GenerationRow).values(created_at=datetime(2026, 1, 1))  # noqa: DTZ001
        )


def test_a_reader_sees_one_moment(house):
    made = house.create()
    with house.core.database.read() as session:
        before = ledger.balance(session, house.account.id)
        house.desk.cancel(house.account, made.id)
        assert session.get_one(GenerationRow, made.id).state == "queued"
        assert ledger.balance(session, house.account.id) == before


def entry(house, name, kind, amount, held):
    return LedgerRow(
        account_id=house.account.id,
        kind=kind,
        amount=amount,
        held_delta=held,
        generation_id=name,
        created_at=NOW,
    )


def refused(house, row):
    with pytest.raises(IntegrityError), house.core.database.write() as session:
        session.add(row)


def test_a_hold_is_settled_once_whoever_tries(house):
    name, job = house.submit()
    refused(house, entry(house, name, "hold", -COST, COST))
    house.runpod.complete(job)
    house.later()
    refused(house, entry(house, name, "capture", 0, -COST))
    refused(house, entry(house, name, "release", COST, -COST))
    assert house.kinds(name) == ["hold", "capture"]


@pytest.mark.parametrize(
    ("kind", "amount", "held"),
    [("grant", -5, 0), ("grant", 5, 5), ("grant", 0, 0), ("adjustment", 0, 0), ("gift", 5, 0),
     ("hold", -5, 5)],
)  # fmt: skip
def test_rows_that_mean_nothing_are_refused(house, kind, amount, held):
    refused(house, entry(house, None, kind, amount, held))


@pytest.mark.parametrize("sql", ["UPDATE ledger SET amount = -1", "DELETE FROM ledger"])
def test_rows_of_the_ledger_are_never_changed(house, sql):
    name = house.create().id
    with (
        pytest.raises(IntegrityError, match="never changed"),
        house.core.database.write() as session,
    ):
        session.execute(text(sql))
    assert house.kinds(name) == ["hold"]


@pytest.mark.parametrize("values", [{"available": -1}, {"held": -1}])
def test_no_balance_is_below_nothing(house, values):
    with pytest.raises(IntegrityError), house.core.database.write() as session:
        session.execute(update(AccountRow).values(**values))


@pytest.mark.parametrize(
    "values",
    [{"state": "lost"}, {"state": "done"}, {"state": "failed"}, {"ended_at": NOW},
     {"error_type": "timeout"}, {"credits": 0}, {"state": "done", "ended_at": NOW}],
)  # fmt: skip
def test_a_state_without_what_belongs_to_it_is_refused(house, values):
    house.create()
    with pytest.raises(IntegrityError), house.core.database.write() as session:
        session.execute(update(GenerationRow).values(**values))


def test_an_adjustment_corrects_a_balance_by_a_row_of_its_own(house):
    with house.core.database.write() as session:
        ledger.adjust(
            session, account_id=house.account.id, credits=-20, note="counted twice", now=NOW
        )
    assert house.balance() == (CREDITS - 20, 0)
    house.check()
    with pytest.raises(Unaffordable), house.core.database.write() as session:
        ledger.adjust(session, account_id=house.account.id, credits=-1000, note="no", now=NOW)


def test_many_credits_are_counted_like_few(house):
    for _ in range(3):
        house.core.accounts.grant(house.account.id, 10**9, "much")
    assert house.balance() == (CREDITS + 3 * 10**9, 0)
    house.check()


def test_credits_for_nobody_are_refused(house):
    with pytest.raises(NotFound), house.core.database.write() as session:
        ledger.grant(session, account_id="acc_x", credits=5, note="who", now=NOW)


def faults(house):
    with house.core.database.read() as session:
        return ledger.faults(session)


def test_the_doctor_sees_entries_that_are_not_the_generations_own(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.later()
    other = house.core.accounts.create("Bob")
    with house.core.database.write() as session:
        session.execute(update(GenerationRow).values(credits=COST + 1))
    assert faults(house) == [f"generation {name} has entries of other credits than its own"]
    with house.core.database.write() as session:
        session.execute(update(GenerationRow).values(credits=COST, account_id=other.id))
    assert faults(house) == [f"generation {name} has entries of another account"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE accounts SET available = available + 1", "its ledger adds up to"),
        ("UPDATE accounts SET held = held + 1", "its open generations come to"),
        ("UPDATE generations SET state = 'cancelled', ended_at = created_at", "were not released"),
        (
            "INSERT INTO generations (id, account_id, state, form, mode, resolution, credits, "
            "price_version, favourite, version, created_at, attempts, surplus_jobs, next_check_at, "
            "checks) "
            "SELECT 'gen_x', account_id, state, form, mode, resolution, credits, price_version, "
            "favourite, version, created_at, attempts, surplus_jobs, next_check_at, checks "
            "FROM generations",
            "was never paid for",
        ),
    ],
)
def test_the_doctor_sees_what_does_not_agree(house, sql, says):
    house.create()
    assert faults(house) == []
    with house.core.database.write() as session:
        session.execute(text(sql))
    assert any(says in fault for fault in faults(house))
