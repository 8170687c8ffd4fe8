"""Webhooks of the worker's platform: lost, doubled, early, late, forged. Both databases."""

import threading

import pytest

from gateway.refusals import NotFound
from gateway.states import Cancelled
from gateway.webhooks.incoming import read_job_id
from tests.gateway.eventually import eventually
from tests.gateway.house import COST, CREDITS
from tests.worker.loopback import Reply


def test_a_webhook_that_is_lost_costs_time_only(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.later()
    assert house.see(name).status == "completed"


def test_a_webhook_brings_the_end_at_once(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.turn()
    assert house.see(name).status == "queued"
    house.hint(job)
    house.turn()
    assert house.see(name).status == "completed"


def test_a_webhook_that_comes_twice_is_paid_once(house):
    name, job = house.submit()
    house.runpod.complete(job)
    for _ in range(2):
        house.hint(job)
        house.turn()
    house.hint(job)
    house.hint(job)
    house.later()
    assert house.kinds(name) == ["hold", "capture"]
    assert house.balance() == (CREDITS - COST, 0)


def test_a_webhook_that_lies_about_the_end_changes_nothing(house):
    name, job = house.submit()
    house.hint(job, body=b'{"id": "%s", "status": "COMPLETED"}' % job.id.encode())
    house.turn()
    assert house.see(name).status == "queued"
    assert house.balance() == (CREDITS - COST, COST)


def test_a_forged_token_is_not_found_and_changes_nothing(house):
    name, job = house.submit()
    house.runpod.complete(job)
    before = house.row(name).version
    for token in ("", "x", "0" * 43):
        with pytest.raises(NotFound, match=r"^not found$"):
            house.core.incoming.take(token, b"{}")
    house.turn()
    assert house.row(name).version == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": 5}', b'{"id": "../x"}', b"\xff"])
def test_nothing_is_read_of_a_body_that_names_no_job(body):
    assert read_job_id(body) is None


def test_a_body_that_cannot_be_read_is_a_hint_all_the_same(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.hint(job, body=b"\xff")
    house.turn()
    assert house.see(name).status == "completed"


def test_a_late_webhook_after_the_cancel_changes_nothing(house):
    name, job = house.submit()
    house.desk.cancel(house.account, name)
    house.turn()
    assert isinstance(house.see(name).state, Cancelled)
    house.runpod.complete(job)
    house.hint(job)
    house.turn()
    assert isinstance(house.see(name).state, Cancelled)
    assert house.kinds(name) == ["hold", "release"]
    assert house.balance() == (CREDITS, 0)


def test_a_webhook_before_the_answer_to_the_submission_counts(house):
    made = house.create()
    # RunPod takes the job, and its answer never comes.
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    (job,) = house.runpod.jobs
    assert house.row(made.id).job_id is None
    house.runpod.complete(job)
    house.hint(job)
    house.turn()
    assert house.see(made.id).status == "completed"
    assert len(house.runpod.jobs) == 1


def test_a_webhook_that_comes_during_the_submission_brings_the_end_before_its_answer(house):
    made = house.create()
    answered = house.runpod.held[made.id] = threading.Event()
    submitting = threading.Thread(target=house.core.submitter.turn)
    submitting.start()
    try:
        eventually(lambda: len(house.runpod.jobs) == 1)
        (job,) = house.runpod.jobs
        house.runpod.complete(job)
        house.hint(job)
        assert house.row(made.id).job_id == job.id
        # The link is not held: only the answer to the submission is.
        del house.runpod.held[made.id]
        house.core.reconciler.turn()
        assert house.see(made.id).status == "completed"
        house.check()
    finally:
        answered.set()
        submitting.join(30)
    assert not submitting.is_alive()
    house.later()
    assert house.kinds(made.id) == ["hold", "capture"]
    assert (len(house.runpod.jobs), job.cancels) == (1, 0)


def sent_twice(house):
    """A generation whose first job nobody knew of, and its two jobs."""
    made = house.create()
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    house.turn(301)
    house.turn()
    first, second = house.runpod.of(made.id)
    assert house.row(made.id).job_id == second.id
    return made.id, first, second


def test_a_job_too_many_is_cancelled_as_soon_as_a_webhook_names_it(house):
    name, first, second = sent_twice(house)
    house.runpod.run(first)
    house.runpod.run(second)
    house.runpod.faults.append(Reply(status=500))  # and again where the platform does not answer
    house.hint(first)
    house.turn()
    assert first.cancels == 0
    house.later()
    assert (first.status, first.cancels, second.cancels) == ("CANCELLED", 1, 0)
    house.runpod.complete(second)
    house.later()
    assert house.see(name).status == "completed"
    assert (house.kinds(name), first.cancels) == (["hold", "capture"], 1)


def test_a_job_that_is_named_when_the_video_is_there_is_cancelled(house):
    made = house.create()
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    (job,) = house.runpod.jobs
    house.keep(job)
    house.turn(61)
    assert house.see(made.id).status == "completed"
    house.hint(job)
    house.turn()
    assert job.cancels == 1
    assert house.kinds(made.id) == ["hold", "capture"]


def test_a_webhook_that_names_another_generations_job_does_not_end_it(house):
    _, job = house.submit()
    _, other = house.submit()
    house.hint(job, body=b'{"id": "%s"}' % other.id.encode())
    house.turn()
    assert (job.cancels, other.cancels) == (0, 0)
