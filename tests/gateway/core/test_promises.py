"""What is promised of money and videos whatever the worker's platform does. Both databases."""

from dataclasses import replace

import pytest

from gateway.ids import digest
from gateway.refusals import NotFound
from gateway.states import Cancelled, Cancelling, Done, Failed, Queued, Running, Submitted
from gateway.tables import TokenRow
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


def test_a_webhook_that_lies_about_the_end_changes_nothing(house):
    name, job = house.submit()
    house.hint(job, body=b'{"id": "%s", "status": "COMPLETED"}' % job.id.encode())
    house.turn()
    assert house.see(name).status == "queued"
    assert house.balance() == (CREDITS - COST, COST)


@pytest.mark.parametrize("token", ["", "x", "0" * 43])
def test_a_forged_token_is_not_found_and_changes_nothing(house, token):
    name, job = house.submit()
    house.runpod.complete(job)
    before = house.row(name).version
    with pytest.raises(NotFound, match=r"^not found$"):
        house.core.incoming.take(token, b"{}")
    house.turn()
    assert house.row(name).version == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": 5}', b'{"id": "../x"}', b"\xff"])
def test_a_body_that_cannot_be_read_is_a_hint_all_the_same(house, body):
    name, job = house.submit()
    house.runpod.complete(job)
    house.hint(job, body=body)
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
    house.turn(30)
    assert len(house.runpod.jobs) == 1  # it may run: nobody knows
    house.turn(60)
    house.turn()
    first, second = house.runpod.of(made.id)
    assert first.input == second.input  # the same generation id: the worker answers what it made
    house.runpod.complete(second)
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
        house.later(61)
    house.later(61)
    state = house.see(made.id).state
    assert isinstance(state, Failed)
    assert (state.error, len(house.runpod.jobs)) == ("api_error", 3)
    assert house.balance() == (CREDITS, 0)


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


def test_a_job_that_never_heard_of_its_own_end_is_found_in_the_store(house):
    name, job = house.submit()
    house.runpod.run(job, percent=99)
    house.later()
    house.keep(job)
    house.later()
    assert house.see(name).status == "in_progress"  # it is still in its time
    house.turn(660)
    assert house.see(name).status == "completed"


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


def test_what_no_worker_takes_ends_with_the_credits_back(house):
    made = house.create()
    house.runpod.faults += [Reply(status=401)] * 200
    for _ in range(75):
        house.turn(100)
    assert house.see(made.id).state.error == "timeout"
    assert house.balance() == (CREDITS, 0)


def test_reports_that_overtake_one_another_never_go_back(house):
    name, job = house.submit()
    seen = []
    for seq, percent in ((2, 20), (1, 10), (5, 50), (4, 40)):
        house.runpod.run(job, seq=seq, percent=percent)
        house.later()
        progress = house.see(name).state.progress
        seen.append((progress.seq, progress.percent))
    assert seen == [(2, 20), (2, 20), (5, 50), (5, 50)]
