"""What is promised of money and videos whatever the platform says of a job. Both databases."""

from contextlib import contextmanager

import pytest

from gateway import clips
from gateway.states import Done, Failed, Queued, Running, Submitted
from gateway.stores import StoreFailed
from tests.gateway.house import COST, CREDITS
from tests.worker.loopback import Reply


def test_a_video_is_held_for_made_and_paid(house):
    made = house.create()
    assert made.state == Queued(position=1)
    assert house.balance() == (CREDITS - COST, COST)
    house.turn()
    job = house.runpod.job(made.id)
    assert isinstance(house.see(made.id).state, Submitted)
    assert job.input["generation_id"] == made.id
    assert job.policy == {"executionTimeout": 600_000, "ttl": 7_200_000}
    house.runpod.run(job, seq=3, percent=42)
    house.later()
    running = house.see(made.id).state
    assert isinstance(running, Running)
    assert (running.progress.phase, running.progress.percent) == ("generate", 42)
    house.runpod.complete(job)
    house.later()
    done = house.see(made.id)
    assert isinstance(done.state, Done)
    assert (done.state.output.num_frames, done.state.output.seed) == (25, 42)
    assert (done.queue_ms, done.execution_ms) == (4100, 52300)
    assert house.balance() == (CREDITS - COST, 0)
    assert house.kinds(made.id) == ["hold", "capture"]


def test_errors_of_the_platform_while_looking_lose_nothing(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.runpod.faults += [Reply(status=500), Reply(status=429), Reply(drop=True)]
    for _ in range(3):
        house.later()
        assert house.see(name).status == "queued"
    house.later()
    assert house.see(name).status == "completed"


def test_a_link_that_has_expired_is_found_in_the_store(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.runpod.expired.add(name)
    house.later()
    assert house.see(name).status == "queued"
    house.keep(job)
    house.later()
    assert house.see(name).status == "completed"
    assert house.kinds(name) == ["hold", "capture"]


def test_a_link_that_has_expired_for_good_is_lost_with_the_credits_back(house):
    name, job = house.submit()
    house.runpod.complete(job)
    house.runpod.expired.add(name)
    for _ in range(16):
        house.later()
    state = house.see(name).state
    assert isinstance(state, Failed)
    assert state.error == "lost"
    assert state.message.endswith("Your 10 credits were returned.")
    assert house.balance() == (CREDITS, 0)


def test_a_job_that_the_platform_forgot_is_found_in_the_store(house):
    name, job = house.submit()
    job.known = False
    house.keep(job)
    house.later()
    assert house.see(name).status == "completed"


def test_a_job_that_is_nowhere_is_lost_with_the_credits_back(house):
    name, job = house.submit()
    job.known = False
    house.turn(5)
    assert house.see(name).status == "queued"  # a job may not be known in its first seconds
    house.later()
    assert house.see(name).state.error == "lost"
    assert house.balance() == (CREDITS, 0)


def test_a_job_completed_without_a_result_is_found_in_the_store_or_lost(house):
    lost, job = house.submit()
    kept, other = house.submit()
    for each in (job, other):
        each.status, each.output = "COMPLETED", None
    house.keep(other)
    house.later()
    assert house.see(lost).state.error == "lost"
    assert house.see(kept).status == "completed"


def test_a_job_that_never_heard_of_its_own_end_is_found_in_the_store(house):
    name, job = house.submit()
    house.runpod.run(job, percent=99)
    house.later()
    house.keep(job)
    house.later()
    assert house.see(name).status == "in_progress"  # it is still in its time
    house.turn(660)
    assert house.see(name).status == "completed"


def test_a_platform_that_stays_silent_is_told_of_until_it_answers(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    known = house.see(name)
    assert not known.unanswered
    house.runpod.faults += [Reply(status=500)] * 3
    for silent in (False, False, True):
        house.later()
        seen = house.see(name)
        assert (seen.state, seen.unanswered) == (known.state, silent)
    assert seen.eta_seconds is None
    house.later()  # no news, but an answer
    assert not house.see(name).unanswered


def test_a_job_that_nobody_takes_is_told_of_as_one_that_nobody_answers_for(house):
    made = house.create()
    house.runpod.faults += [Reply(status=401)] * 3
    for silent in (False, False, True):
        house.later()
        seen = house.see(made.id)
        assert (seen.state, seen.unanswered) == (Queued(position=1), silent)
    house.later()
    seen = house.see(made.id)
    assert (type(seen.state), seen.unanswered) == (Submitted, False)


def test_a_platform_that_is_busy_is_no_silent_one(house):
    made = house.create()
    house.runpod.faults += [Reply(status=429)] * 5
    for _ in range(5):
        house.later()
        house.turn(60)
        assert not house.see(made.id).unanswered
    assert house.row(made.id).attempts >= 3


def test_a_job_of_a_silent_platform_ends_after_its_deadline(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    house.runpod.faults += [Reply(status=500)] * 200
    house.turn(7330)
    house.turn(1000)
    assert house.see(name).status == "in_progress"  # it may have been made meanwhile
    house.turn(300)
    assert house.see(name).state.error == "timeout"
    assert house.balance() == (CREDITS, 0)


def test_a_job_that_ended_while_the_platform_was_silent_is_paid(house):
    name, job = house.submit()
    house.runpod.faults += [Reply(status=500)] * 2
    house.turn(7330)
    house.turn(1000)
    house.runpod.complete(job)
    house.turn(300)
    assert house.see(name).status == "completed"


def test_the_result_of_another_generation_is_not_taken(house):
    name, job = house.submit()
    _, other = house.submit()
    house.runpod.complete(job)
    job.output = house.runpod.result(other)
    house.later()
    assert house.see(name).status == "queued"
    assert house.balance() == (CREDITS - 2 * COST, 2 * COST)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        ("OUT_OF_MEMORY: 80 GiB", "out_of_memory", "GPU's memory"),
        ("DEADLINE: stopped", "timeout", "longer than allowed"),
        ("MEDIA_REFUSED: image cannot be read", "invalid_input", "Image cannot be read."),
        ("DELIVERY_FAILED: no store", "api_error", "Something went wrong"),
        ("INTERNAL: see the log of host-17", "api_error", "Something went wrong"),
        ('Traceback (most recent call last):\n File "/app/x.py"', "api_error", "went wrong"),
    ],
)
def test_a_failure_is_told_in_human_words_and_gives_the_credits_back(house, error, kind, says):
    name, job = house.submit()
    house.runpod.fail(job, error)
    house.later()
    state = house.see(name).state
    assert (state.error, says in state.message) == (kind, True)
    assert "Traceback" not in state.message
    assert "host-17" not in state.message
    assert house.row(name).worker_error == error
    assert house.kinds(name) == ["hold", "release"]


def test_a_job_that_ran_out_of_its_time_is_a_timeout(house):
    name, job = house.submit()
    job.status = "TIMED_OUT"
    house.later()
    assert house.see(name).state.error == "timeout"


def test_a_word_that_the_platform_adds_is_no_end(house):
    name, job = house.submit()
    job.status = "PAUSED"
    house.later()
    assert house.see(name).status == "queued"
    house.runpod.complete(job)
    house.later()
    assert house.see(name).status == "completed"


def test_reports_that_overtake_one_another_never_go_back(house):
    name, job = house.submit()
    seen = []
    for seq, percent in ((2, 20), (1, 10), (5, 50), (4, 40)):
        house.runpod.run(job, seq=seq, percent=percent)
        house.later()
        progress = house.see(name).state.progress
        seen.append((progress.seq, progress.percent))
    assert seen == [(2, 20), (2, 20), (5, 50), (5, 50)]


def test_a_job_that_runs_for_ever_ends_at_the_deadline_and_is_cancelled(house):
    name, job = house.submit()
    house.runpod.run(job)
    house.later()
    house.turn(7200)
    assert isinstance(house.see(name).state, Running)
    house.turn(121)
    assert house.see(name).state.error == "timeout"
    assert job.cancels == 1
    assert house.balance() == (CREDITS, 0)


@contextmanager
def no_store(house, monkeypatch):
    """The store is away for the block."""

    def away(_name):
        raise StoreFailed("the bucket cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "find", away)
        yield


def test_a_store_that_is_away_at_the_deadline_has_the_last_word_when_it_is_back(house, monkeypatch):
    kept, job = house.submit()
    lost, _ = house.submit()
    house.keep(job)
    with no_store(house, monkeypatch):
        for seconds in (7330, 60):
            house.turn(seconds)
            assert {house.see(each).status for each in (kept, lost)} == {"queued"}
        assert house.balance() == (CREDITS - 2 * COST, 2 * COST)
    house.later()
    assert house.see(kept).status == "completed"
    assert house.see(lost).state.error == "timeout"
    assert house.balance() == (CREDITS - COST, 0)


def test_a_store_that_stays_away_holds_no_credits_for_ever(house, monkeypatch):
    known, _ = house.submit()
    unsure = house.create().id
    house.runpod.after.append(Reply(drop=True))
    house.turn()
    assert house.row(unsure).job_id is None
    with no_store(house, monkeypatch):
        house.turn(7330)
        assert house.balance() == (CREDITS - 2 * COST, 2 * COST)
        for _ in range(3):
            house.turn(1200)
    assert {house.see(each).state.error for each in (known, unsure)} == {"timeout"}
    assert len(house.runpod.of(unsure)) == 1
    assert house.balance() == (CREDITS, 0)


def test_the_video_in_the_store_is_the_one_whatever_another_job_answered(house):
    name, job = house.submit()
    house.keep(job)
    house.runpod.complete(job)
    job.output = {**job.output, "sha256": "0" * 64}
    house.later()
    done = house.see(name)
    assert (done.status, done.output.sha256) == ("completed", house.runpod.result(job)["sha256"])
    assert house.kinds(name) == ["hold", "capture"]


def test_a_video_that_comes_into_the_store_by_the_last_look_is_paid_not_lost(house, monkeypatch):
    name, job = house.submit()
    house.runpod.complete(job)
    house.runpod.expired.add(name)
    house.later()
    real = clips.take

    def taken_too_early(*arguments):
        try:
            return real(*arguments)
        finally:
            house.keep(job)

    monkeypatch.setattr(clips, "take", taken_too_early)
    house.later(1300)
    assert house.see(name).status == "completed"
    assert house.kinds(name) == ["hold", "capture"]
