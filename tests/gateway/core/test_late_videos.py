"""A video that comes after we gave up is kept, for nothing. Both databases."""

import json

from sqlalchemy import select

from gateway import clips
from gateway.stores import StoreFailed
from gateway.tables import EventRow, GenerationRow
from tests.gateway.house import CREDITS
from tests.worker.loopback import Reply


def test_a_video_that_comes_after_we_gave_up_is_kept_for_nothing(house):
    name, job = house.submit()
    house.runpod.obeys = False
    house.runpod.run(job)
    house.later()
    house.turn(7330)
    assert house.see(name).state.late is None
    house.runpod.complete(job)
    house.hint(job)
    house.turn()
    late = house.see(name)
    assert late.status == "failed"
    assert late.output is not None
    assert house.kinds(name) == ["hold", "release"]
    assert house.balance() == (CREDITS, 0)


def given_up(house):
    """A generation that had its time, and its job, which runs on."""
    name, job = house.submit()
    house.runpod.obeys = False
    house.runpod.run(job)
    house.later()
    house.turn(7330)
    assert house.see(name).status == "failed"
    return name, job


def test_a_late_video_is_looked_for_again_where_the_platform_does_not_answer(house):
    name, job = given_up(house)
    house.runpod.complete(job)
    house.runpod.faults += [Reply(status=500), Reply(status=429)]
    house.hint(job)
    for _ in range(3):
        assert house.see(name).output is None
        house.turn(20)
    assert house.see(name).output is not None
    assert house.kinds(name) == ["hold", "release"]


def test_a_late_video_is_looked_for_again_whatever_went_wrong(house, monkeypatch):
    name, job = given_up(house)
    house.runpod.complete(job)
    house.hint(job)

    def broken(_name):
        raise RuntimeError("nobody thought of this")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "find", broken)
        house.turn()
    assert house.see(name).output is None
    house.turn(20)
    assert house.see(name).output is not None


def test_a_late_video_of_what_was_deleted_is_not_kept(house):
    name, job = given_up(house)
    house.desk.delete(house.account, name)
    house.runpod.complete(job)
    house.hint(job)
    house.later()
    assert house.store.find(name) is None


def test_deleting_while_a_late_video_is_fetched_leaves_neither_words_nor_files(house, monkeypatch):
    name, job = given_up(house)
    house.runpod.complete(job)
    house.hint(job)
    real = clips.take

    def deleted_meanwhile(*arguments):
        found = real(*arguments)
        house.desk.delete(house.account, name)
        house.keep(job)  # the fetched one, written just after the files were deleted
        return found

    monkeypatch.setattr(clips, "take", deleted_meanwhile)
    house.turn()
    assert house.row(name).output is None
    assert house.store.find(name) is None


def test_a_file_that_comes_after_the_deletion_is_deleted_when_the_store_is_back(house, monkeypatch):
    name, job = given_up(house)
    house.desk.delete(house.account, name)
    house.keep(job)

    def away(_name):
        raise StoreFailed("the bucket cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "delete", away)
        house.turn()
    assert house.store.find(name) is not None
    house.turn(20)
    assert house.store.find(name) is None


def test_deleting_forgets_words_styles_and_the_receiver(house):
    made = house.create(webhook_url="https://a.example", negative_prompt="fog")
    with house.core.database.write() as session:
        row = session.get_one(GenerationRow, made.id)
        row.form = {**row.form, "loras": ["ada/secret:style"]}
    house.desk.cancel(house.account, made.id)
    house.desk.delete(house.account, made.id)
    row = house.row(made.id)
    assert row.webhook_url is None
    told = json.dumps(row.form)
    assert not [each for each in ("a.example", "fog", "heron", "secret") if each in told]
    with house.core.database.read() as session:
        (event,) = session.scalars(select(EventRow)).all()
    assert event.url == "https://a.example"  # it waits, and is still told
