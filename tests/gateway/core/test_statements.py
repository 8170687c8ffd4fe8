"""What calls cost the database, however many generations there are. Both databases."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, text

from gateway.webhooks.outgoing.outbox import Outbox
from gateway.webhooks.outgoing.post import Answered
from tests.gateway.house import COST


@contextmanager
def statements(house) -> Iterator[list[str]]:
    """What is asked of the database within the block, with the ends of transactions."""
    said: list[str] = []
    engine = house.core.database.engine

    def asked(_connection, _cursor, statement, *_rest):
        said.append(statement)

    def committed(_connection):
        said.append("COMMIT")

    event.listen(engine, "before_cursor_execute", asked)
    event.listen(engine, "commit", committed)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", asked)
        event.remove(engine, "commit", committed)


def test_who_creates_keeps_others_waiting_for_no_statistics(house):
    with statements(house) as said:
        house.desk.create(house.account, {"prompt": "a"}, "key")
    written = said[: said.index("COMMIT")]
    assert any("INSERT INTO ledger" in each for each in written)
    assert not [each for each in written if "execution_ms IS NOT NULL" in each]
    assert not [each for each in written if "row_number" in each]


def test_a_long_list_is_read_with_as_many_questions_as_a_short_one(house):
    counts = []
    for _ in range(2):
        house.create()
        house.create()
        with statements(house) as said:
            page = house.desk.generations(house.account)
        counts.append(len(said))
    assert [each.state.position for each in page.items] == [4, 3, 2, 1]
    assert counts[0] == counts[1]


def test_what_the_last_ones_took_is_found_by_an_index(house):
    name = house.create().id
    house.clock.move(10)  # what creating found is no longer fresh
    with statements(house) as said:
        house.see(name)
        house.see(name)
    (question,) = [each for each in said if "execution_ms IS NOT NULL" in each]
    plan = plan_of(house, question)
    assert "ix_generations_state_mode_resolution_id" in plan
    assert "TEMP B-TREE" not in plan  # in the order of the index: it ends after the first few


def test_how_many_an_account_has_under_way_is_counted_by_an_index_of_those_alone(house):
    with statements(house) as said:
        house.create()
    (question,) = [each for each in said if "count(*)" in each and "generations" in each]
    assert "ix_generations_account_id_live" in plan_of(house, question, house.account.id)


@pytest.mark.parametrize("moment", ["refused_at", "delivered_at"])
def test_whether_a_receiver_wants_nothing_is_read_at_the_end_of_an_index(house, moment):
    for _ in range(2):
        name = house.create(webhook_url="https://a.example").id
        house.desk.cancel(house.account, name)
    box = Outbox(house.core.database, house.clock, send=lambda *_: Answered(410))
    box.deliver_due()
    name = house.create(webhook_url="https://a.example").id
    house.desk.cancel(house.account, name)
    with statements(house) as said:
        box.deliver_due()
    question = next(each for each in said if f"ORDER BY outbox.{moment} DESC" in each)
    plan = plan_of(house, question, house.account.id, "https://a.example", 1, 0)
    assert f"ix_outbox_account_id_url_{moment}" in plan
    assert "TEMP B-TREE" not in plan


def plan_of(house, question, *values):
    """How the database would answer a question about a large table."""
    if values:
        return plan_with(house, question, values)
    with house.core.database.engine.connect() as connection:
        if house.core.database.is_sqlite:
            asked = f"EXPLAIN QUERY PLAN {question}"
            given = ("done", "fast", "720p", 20, 0)[: question.count("?")]
        else:
            connection.execute(text("SET enable_seqscan = off"))
            connection.execute(text("SET enable_bitmapscan = off"))
            connection.execute(text("SET enable_sort = off"))
            asked = f"EXPLAIN {question}"
            names = ("state_1", "mode_1", "resolution_1", "param_1")
            given = dict(zip(names, ("done", "fast", "720p", 20), strict=True))
        rows = connection.exec_driver_sql(asked, given).all()
    return "\n".join(str(row) for row in rows)


def plan_with(house, question, values):
    with house.core.database.engine.connect() as connection:
        if house.core.database.is_sqlite:
            asked, given = f"EXPLAIN QUERY PLAN {question}", values[: question.count("?")]
        else:
            for each in ("seqscan", "bitmapscan", "sort"):
                connection.execute(text(f"SET enable_{each} = off"))
            asked = f"EXPLAIN {question}"
            given = dict(zip(re.findall(r"%\((\w+)\)s", question), values, strict=False))
        rows = connection.exec_driver_sql(asked, given).all()
    return "\n".join(str(row) for row in rows)


def test_the_form_stands_beside_its_columns(house):
    row = house.row(house.create(mode="pro", resolution="540p").id)
    assert (row.mode, row.resolution) == (row.form["mode"], row.form["resolution"])
    assert row.credits != COST
