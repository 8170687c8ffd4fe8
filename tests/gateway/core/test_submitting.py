"""From the queue to the worker, whatever its platform answers. Both databases."""

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from PIL import Image

from gateway.backends import Rejected
from gateway.ids import digest
from gateway.states import Failed, Queued, Submitted
from gateway.tables import TokenRow
from tests.gateway.house import COST, CREDITS
from tests.worker.loopback import Reply


@pytest.mark.parametrize("fault", [Reply(status=429, headers={"Retry-After": "7"}),
                                   Reply(status=401), Reply(status=404)])  # fmt: skip
def test_a_submission_that_was_not_taken_is_tried_again(house, fault):
    made = house.create()
    house.runpod.faults.append(fault)
    house.turn()
    assert house.see(made.id).state == Queued(position=1)
    house.turn(1)
    assert house.runpod.jobs == []  # not at once
    house.turn(60)
    assert len(house.runpod.jobs) == 1
    assert isinstance(house.see(made.id).state, Submitted)


def test_a_server_error_is_not_answered_by_a_second_job_at_once(house):
    made = house.create()
    house.runpod.after.append(Reply(status=502))
    house.turn()
    for _ in range(4):
        house.turn(70)
        assert len(house.runpod.jobs) == 1  # it may run: nobody knows
    house.turn(70)
    house.turn()
    first, second = house.runpod.of(made.id)
    assert first.input == second.input  # the same generation id: the worker answers what it made
    house.runpod.complete(second)
    house.later()
    assert house.see(made.id).status == "completed"
    assert house.kinds(made.id) == ["hold", "capture"]


def test_a_second_job_comes_sooner_where_no_webhook_could_tell_of_the_first(house):
    house.settings = replace(house.settings, public_url=None)
    house.restart()
    house.create()
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    house.turn(61)
    house.turn()
    assert len(house.runpod.jobs) == 2


def test_the_time_that_a_store_takes_for_pictures_is_no_part_of_an_attempt(house, monkeypatch):
    written = io.BytesIO()
    Image.new("RGB", (96, 64), (30, 90, 160)).save(written, "PNG")
    uri = house.desk.upload(house.account, "a.png", written.getvalue()).uri
    made = house.create(image=uri)
    slow, counts = house.store.get, []

    def get(folder, name):
        house.clock.move(100)
        return slow(folder, name)

    def submit(job):
        house.clock.move(25)
        house.core.reconciler.turn()
        counts.append(house.row(made.id).attempts)
        return real(job)

    house.core.reconciler.check_all()
    real = house.core.backend.submit
    monkeypatch.setattr(house.store, "get", get)
    monkeypatch.setattr(house.core.backend, "submit", submit)
    house.core.submitter.turn()
    assert (counts, len(house.runpod.jobs)) == ([1], 1)
    assert house.row(made.id).submitted_at == house.clock.now() - timedelta(seconds=25)


def test_an_attempt_that_was_held_for_lost_while_its_pictures_were_read_asks_for_nothing(
    house, monkeypatch
):
    house.settings = replace(house.settings, public_url=None)
    house.restart()
    written = io.BytesIO()
    Image.new("RGB", (96, 64), (30, 90, 160)).save(written, "PNG")
    made = house.create(image=house.desk.upload(house.account, "a.png", written.getvalue()).uri)
    slow = house.store.get

    def get(folder, name):
        monkeypatch.undo()
        house.clock.move(100)
        house.core.reconciler.turn()  # back into the queue
        house.core.submitter.turn()  # as another process does
        return slow(folder, name)

    monkeypatch.setattr(house.store, "get", get)
    house.core.submitter.turn()
    assert (len(house.runpod.jobs), house.row(made.id).attempts) == (1, 2)


def test_a_late_refusal_of_an_attempt_that_was_held_for_lost_leaves_the_next_one_alone(
    house, monkeypatch
):
    house.settings = replace(house.settings, public_url=None)
    house.restart()
    made = house.create()

    def submit(_job):
        monkeypatch.undo()
        house.clock.move(100)
        house.core.reconciler.turn()  # back into the queue
        house.core.submitter.turn()  # as another process does
        assert house.row(made.id).attempts == 2
        raise Rejected("this worker takes no such job")

    monkeypatch.setattr(house.core.backend, "submit", submit)
    house.core.submitter.turn()
    house.check()
    assert (house.row(made.id).state, house.balance()) == ("submitted", (CREDITS - COST, COST))
    house.runpod.complete(house.runpod.job(made.id))
    house.later()
    assert house.see(made.id).status == "completed"
    assert house.kinds(made.id) == ["hold", "capture"]


def test_a_submission_of_unknown_outcome_is_found_in_the_store(house):
    made = house.create()
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    house.keep(house.runpod.job(made.id))
    house.turn(61)
    assert house.see(made.id).status == "completed"
    assert len(house.runpod.jobs) == 1


def test_outcomes_that_stay_unknown_end_with_the_credits_back(house):
    made = house.create()
    for _ in range(3):
        house.runpod.after.append(Reply(drop=True))
        house.turn()
        house.later(301)
    house.later(301)
    state = house.see(made.id).state
    assert isinstance(state, Failed)
    assert (state.error, len(house.runpod.jobs)) == ("api_error", 3)
    assert house.balance() == (CREDITS, 0)


def test_a_hint_for_what_is_queued_does_not_keep_it_from_the_worker(house):
    made = house.create()
    house.runpod.faults.append(Reply(status=429))
    house.turn()
    token = "a token of ours"
    with house.core.database.write() as session:
        row = TokenRow(sha256=digest(token), generation_id=made.id, created_at=house.clock.now())
        session.add(row)
    house.core.incoming.take(token, b"{}")
    house.core.reconciler.turn()
    house.turn(3)
    assert len(house.runpod.jobs) == 1


@pytest.mark.parametrize("change", [{"modes": "fast"}, {"checkpoint": "ltx-2"}])
def test_what_the_worker_no_longer_offers_is_not_made_as_something_else(house, change):
    made = house.create(mode="pro")
    house.settings = replace(house.settings, **change)
    house.restart()
    house.turn()
    state = house.see(made.id).state
    assert (state.error, house.runpod.jobs) == ("api_error", [])
    assert state.message.startswith("It is not offered any more. Your ")
    assert house.balance() == (CREDITS, 0)


def test_what_no_worker_takes_ends_with_the_credits_back(house):
    made = house.create()
    house.runpod.faults += [Reply(status=401)] * 200
    for _ in range(75):
        house.turn(100)
    assert house.see(made.id).state.error == "timeout"
    assert house.balance() == (CREDITS, 0)


@pytest.mark.parametrize("seconds", [600, 86_400])
def test_a_platform_that_asks_for_a_long_pause_is_left_alone_for_all_of_it(house, seconds):
    house.settings = replace(house.settings, ttl_seconds=604_800)
    house.restart()
    made = house.create()
    house.runpod.faults.append(Reply(status=429, headers={"Retry-After": str(seconds)}))
    house.turn()
    house.turn(seconds - 1)
    assert (len(house.runpod.sent("POST", "/run")), house.runpod.jobs) == (1, [])
    assert house.balance() == (CREDITS - COST, COST)
    house.turn(1)
    assert isinstance(house.see(made.id).state, Submitted)


@pytest.mark.parametrize("seconds", ["7300", "9" * 400])
def test_a_pause_beyond_the_deadline_ends_with_the_credits_back(house, seconds):
    made = house.create()
    house.runpod.faults.append(Reply(status=429, headers={"Retry-After": seconds}))
    house.turn()
    assert house.see(made.id).state == Queued(position=1)
    house.turn(7321)
    assert (house.see(made.id).state.error, house.runpod.jobs) == ("timeout", [])
    assert house.balance() == (CREDITS, 0)
