"""Whoever cancels has either no video and the credits, or the video. Both databases."""

import threading

from gateway.states import Cancelled, Cancelling, Done
from tests.gateway.eventually import eventually
from tests.gateway.house import CREDITS
from tests.worker.loopback import Reply


def test_what_is_queued_is_cancelled_at_once_and_never_submitted(house):
    made = house.create()
    assert isinstance(house.desk.cancel(house.account, made.id).state, Cancelled)
    house.turn()
    assert house.runpod.jobs == []
    assert house.balance() == (CREDITS, 0)


def test_a_running_job_is_cancelled_when_the_platform_says_so(house):
    name, job = house.submit()
    house.runpod.obeys = False
    house.runpod.run(job)
    house.later()
    asked = house.desk.cancel(house.account, name)
    assert isinstance(asked.state, Cancelling)
    assert (asked.status, asked.cost_state) == ("in_progress", "held")
    house.turn()
    assert job.cancels == 1
    assert house.see(name).cost_state == "held"
    job.status, job.output = "CANCELLED", None
    house.later()
    assert isinstance(house.see(name).state, Cancelled)
    assert house.balance() == (CREDITS, 0)


def test_a_video_that_wins_the_race_against_its_cancel_is_paid(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    house.desk.cancel(house.account, name)
    house.runpod.complete(job)
    house.turn()
    assert isinstance(house.see(name).state, Done)
    assert house.kinds(name) == ["hold", "capture"]


def test_a_cancel_while_the_submission_is_unknown_holds_until_it_is_sure(house):
    made = house.create()
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    house.desk.cancel(house.account, made.id)
    house.turn(30)
    assert house.see(made.id).cost_state == "held"
    house.later()
    assert isinstance(house.see(made.id).state, Cancelled)
    assert len(house.runpod.jobs) == 1
    (job,) = house.runpod.jobs
    house.runpod.run(job)
    house.hint(job)
    house.turn()
    assert job.cancels == 1  # what nobody waits for does not run on
    assert house.kinds(made.id) == ["hold", "release"]


def test_cancelling_what_has_ended_changes_nothing(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.later()
    again = house.desk.cancel(house.account, name)
    assert isinstance(again.state, Done)
    assert house.kinds(name) == ["hold", "capture"]


def test_a_cancel_during_the_submission_stops_the_job_that_it_made(house):
    made = house.create()
    answered = house.runpod.held[made.id] = threading.Event()
    submitting = threading.Thread(target=house.core.submitter.turn)
    submitting.start()
    try:
        eventually(lambda: len(house.runpod.jobs) == 1)
        house.desk.cancel(house.account, made.id)
        assert house.see(made.id).cost_state == "held"
    finally:
        answered.set()
        submitting.join(30)
    house.turn()
    (job,) = house.runpod.jobs
    assert (job.cancels, house.see(made.id).status) == (1, "canceled")
    assert house.balance() == (CREDITS, 0)


def test_a_video_in_the_store_wins_against_the_cancel_of_a_job_that_is_forgotten(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    house.keep(job)
    job.known = False
    house.desk.cancel(house.account, name)
    house.turn()
    assert isinstance(house.see(name).state, Done)
    assert house.kinds(name) == ["hold", "capture"]


def test_a_forgotten_job_without_a_video_is_cancelled_with_the_credits_back(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    job.known = False
    house.desk.cancel(house.account, name)
    house.turn()
    assert isinstance(house.see(name).state, Cancelled)
    assert house.balance() == (CREDITS, 0)
