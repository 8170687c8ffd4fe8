"""The local twin's jobs: states, order, times, retries and results, as the platform has them."""

import asyncio
import json
import logging
import threading
import time

import pytest
from starlette.testclient import TestClient

from ltx2.errors import ConfigError
from ltx2.serve import Rules, create_app
from ltx2.serve.endpoint import Endpoint
from ltx2.serve.refusal import Refusal
from ltx2.serve.submission import read_submission
from tests.worker.standin_gate import Clock, StandInGate

HELD = {"hold": True}


@pytest.fixture
def gate():
    return StandInGate()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def calls(gate, clock):
    """A client of the twin's, in this process."""
    with client(create_app(gate, clock=clock, rules=Rules(webhook_pause=0.01))) as found:
        yield found
        gate.release.set()


def client(app):
    return TestClient(app, base_url="http://127.0.0.1:8000")


def post(calls, path, **body):
    response = calls.post(path, json=body or None)
    assert response.status_code == 200, response.text
    return response.json()


def run(calls, given, **more):
    """The id of a new job."""
    body = post(calls, "/run", input=given, **more)
    assert body["status"] == "IN_QUEUE"
    return body["id"]


def status(calls, job):
    response = calls.get(f"/status/{job}")
    assert response.status_code == 200, response.text
    return response.json()


def until(question, seconds=10):
    """Wait until the answer is yes."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)
    return True


def until_status(calls, job, wanted):
    until(lambda: status(calls, job)["status"] == wanted)
    return status(calls, job)


def test_a_job_goes_from_the_queue_over_progress_to_its_result(calls, gate, clock):
    first = run(calls, {**HELD, "answer": {"video": "AAAA"}, "progress": [{"percent": 4.0}]})
    until(lambda: "output" in status(calls, first))
    assert status(calls, first) == {
        "delayTime": 0,
        "id": first,
        "output": {"percent": 4.0},
        "status": "IN_PROGRESS",
        "workerId": "local",
    }
    second = run(calls, {})
    assert status(calls, second) == {"id": second, "status": "IN_QUEUE"}
    clock.seconds += 1.5
    gate.release.set()
    assert until_status(calls, first, "COMPLETED") == {
        "delayTime": 0,
        "executionTime": 1500,
        "id": first,
        "output": {"video": "AAAA"},
        "status": "COMPLETED",
        "workerId": "local",
    }
    assert until_status(calls, second, "COMPLETED")["delayTime"] == 1500


def test_status_is_asked_with_get_or_post_at_the_root_and_under_any_endpoint(calls):
    job = post(calls, "/v2/some-endpoint/runsync", input={})["id"]
    assert job.startswith("sync-")
    for path in (f"/status/{job}", f"/v2/local/status/{job}", f"/v2/some-endpoint/status/{job}"):
        assert calls.get(path).json()["status"] == calls.post(path).json()["status"] == "COMPLETED"


def test_runsync_answers_with_the_result(calls):
    body = post(calls, "/runsync", input={"answer": {"seed": 7}})
    assert body["output"] == {"seed": 7}
    assert (body["status"], body["workerId"]) == ("COMPLETED", "local")


def test_runsync_that_takes_longer_than_its_wait_answers_with_the_job_as_it_stands(calls, gate):
    body = post(calls, "/runsync?wait=1000", input=HELD)
    assert body["status"] == "IN_PROGRESS"
    gate.release.set()
    until_status(calls, body["id"], "COMPLETED")


@pytest.mark.parametrize("wait", ["999", "300001", "soon", "-1", "1e4", ""])
def test_a_wait_that_the_platform_does_not_take_is_refused(calls, wait):
    response = calls.post(f"/runsync?wait={wait}", json={"input": {}})
    assert response.status_code == 400
    assert "wait must be 1000 to 300000 milliseconds" in response.json()["error"]


def test_jobs_run_one_at_a_time_in_order_and_those_of_low_priority_last(calls, gate):
    names = ["a", "b", "low", "c"]
    jobs = [
        run(calls, {**HELD, "name": name}, policy={"lowPriority": name == "low"}) for name in names
    ]
    gate.release.set()
    for job in jobs:
        until_status(calls, job, "COMPLETED")
    order = [line.split()[0] for line in gate.log if line.endswith("begins")]
    assert order == ["a", "b", "c", "low"]
    assert gate.most == 1


def test_everything_that_the_platform_hands_over_reaches_the_worker(calls, gate):
    extra = {
        "policy": {"executionTimeout": 90_000, "ttl": 100_000},
        "s3Config": {"bucketName": "clips"},
        "webhook": "http://127.0.0.1:9/",
    }
    job = run(calls, {"answer": {"a": 1}}, **extra, extra=1)
    until_status(calls, job, "COMPLETED")
    assert gate.jobs == [{"id": job, "input": {"answer": {"a": 1}}, **extra}]


def test_a_queued_job_is_called_off_before_it_runs(calls, gate):
    run(calls, {**HELD, "name": "first"})
    second = run(calls, {"name": "second"})
    assert post(calls, f"/cancel/{second}") == {"id": second, "status": "CANCELLED"}
    assert status(calls, second) == {"id": second, "status": "CANCELLED"}
    gate.release.set()
    third = post(calls, "/runsync", input={"name": "third"})
    assert third["status"] == "COMPLETED"
    assert "second begins" not in gate.log


def test_a_running_job_is_called_off_at_once_and_the_next_waits_for_its_thread(calls, gate):
    first = run(calls, {**HELD, "name": "first", "deaf": 1.0})
    until(lambda: gate.log)
    assert post(calls, f"/cancel/{first}")["status"] == "CANCELLED"
    assert post(calls, f"/cancel/{first}")["status"] == "CANCELLED"
    assert calls.get("/health").json()["workers"]["running"] == 1
    post(calls, "/runsync", input={"name": "second"})
    assert gate.log == ["first begins", "first ends", "second begins", "second ends"]
    body = status(calls, first)
    assert body["status"] == "CANCELLED"
    assert "output" not in body


def test_a_job_that_has_ended_stays_as_it_is_when_it_is_cancelled(calls):
    job = post(calls, "/runsync", input={})["id"]
    assert post(calls, f"/cancel/{job}") == {"id": job, "status": "COMPLETED"}


def test_a_job_that_runs_past_its_execution_timeout_is_stopped(calls, gate, clock):
    job = run(calls, HELD, policy={"executionTimeout": 20_000})
    until_status(calls, job, "IN_PROGRESS")
    clock.seconds += 19.9
    assert status(calls, job)["status"] == "IN_PROGRESS"
    clock.seconds += 0.1
    body = status(calls, job)
    assert body["status"] == "TIMED_OUT"
    assert body["executionTime"] == 20_000
    assert "execution timeout of 20 s" in body["error"]
    until(lambda: gate.running == 0)


def test_the_endpoints_own_execution_timeout_counts_where_the_job_has_none(gate, clock):
    with client(create_app(gate, clock=clock, rules=Rules(execution_seconds=30))) as calls:
        job = run(calls, HELD)
        until_status(calls, job, "IN_PROGRESS")
        clock.seconds += 30
        assert status(calls, job)["status"] == "TIMED_OUT"


def test_a_job_past_its_time_to_live_is_gone_whether_it_waits_or_runs(calls, gate, clock):
    running = run(calls, {**HELD, "name": "running"}, policy={"ttl": 60_000})
    waiting = run(calls, {"name": "waiting"}, policy={"ttl": 60_000})
    until_status(calls, running, "IN_PROGRESS")
    clock.seconds += 60
    for job in (running, waiting):
        assert calls.get(f"/status/{job}").status_code == 404
    assert calls.get("/health").json()["jobs"]["inProgress"] == 0
    until(lambda: gate.running == 0)
    assert post(calls, "/runsync", input={})["status"] == "COMPLETED"
    assert "waiting begins" not in gate.log
    assert calls.get("/health").json()["jobs"] == {
        "completed": 1, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0
    }  # fmt: skip


def test_results_are_kept_half_an_hour_and_those_of_runsync_a_minute(calls, clock):
    slow, quick = run(calls, {}), post(calls, "/runsync", input={})["id"]
    until_status(calls, slow, "COMPLETED")
    clock.seconds += 59
    assert calls.get(f"/status/{quick}").status_code == 200
    clock.seconds += 1
    assert calls.get(f"/status/{quick}").status_code == 404
    clock.seconds += 30 * 60 - 61
    assert calls.get(f"/status/{slow}").status_code == 200
    clock.seconds += 1
    assert calls.get(f"/status/{slow}").status_code == 404


def test_a_result_is_forgotten_earlier_where_status_asks_for_it(calls, clock):
    job = run(calls, {})
    until_status(calls, job, "COMPLETED")
    assert calls.get(f"/status/{job}?ttl=6000").status_code == 200
    clock.seconds += 6
    assert calls.get(f"/status/{job}").status_code == 404
    assert calls.get("/status/x?ttl=never").status_code == 404


@pytest.mark.parametrize(
    ("answer", "error", "rest"),
    [
        ({"error": "TOO_LARGE: no"}, "TOO_LARGE: no", None),
        ({"error": "CONFIG: no", "error_code": "CONFIG"}, "CONFIG: no", {"error_code": "CONFIG"}),
    ],
)
def test_an_error_fails_the_job_and_what_is_beside_it_is_the_output(calls, answer, error, rest):
    body = post(calls, "/runsync", input={"answer": answer})
    assert (body["status"], body["error"]) == ("FAILED", error)
    assert body.get("output") == rest


def test_an_empty_answer_completes_without_an_output_as_on_the_platform(calls):
    body = post(calls, "/runsync", input={"answer": {}})
    assert body["status"] == "COMPLETED"
    assert "output" not in body


def test_a_fault_of_the_gate_fails_the_job_without_its_words_and_the_next_runs(calls, caplog):
    body = post(calls, "/runsync", input={"fault": True})
    assert body["status"] == "FAILED"
    assert "fault of the gate" not in str(body)
    assert "ZeroDivisionError: a fault of the gate" in caplog.text
    assert post(calls, "/runsync", input={})["status"] == "COMPLETED"


def test_a_result_above_the_platforms_limit_is_lost_as_there_and_the_log_says_so(gate, caplog):
    with client(create_app(gate, rules=Rules(run_bytes=1000, runsync_bytes=3000))) as calls:
        assert post(calls, "/runsync", input={"length": 2000})["output"] == {"video": "A" * 2000}
        body = until_status(calls, run(calls, {"length": 2000}), "COMPLETED")
    assert "output" not in body
    assert "the platform takes 1,000 of /run and drops it in silence" in caplog.text


def test_a_result_that_is_no_json_fails_the_job(calls, gate):
    gate.answers = {"nan": {"seconds": float("nan")}}
    body = post(calls, "/runsync", input={"name": "nan"})
    assert (body["status"], body["error"][:30]) == ("FAILED", "INTERNAL: the result is no JSO")
    assert post(calls, "/runsync", input={})["status"] == "COMPLETED"


@pytest.mark.parametrize("status_code", ["FAILED", "TIMED_OUT"])
def test_a_job_that_failed_or_ran_out_of_time_can_be_retried(calls, gate, clock, status_code):
    given = {"answer": {"error": "INTERNAL: x"}} if status_code == "FAILED" else HELD
    job = run(calls, {**given, "name": "first"})
    if status_code == "TIMED_OUT":
        until_status(calls, job, "IN_PROGRESS")
        clock.seconds += 600
    until_status(calls, job, status_code)
    assert post(calls, f"/retry/{job}") == {"id": job, "status": "IN_QUEUE"}
    gate.release.set()
    until_status(calls, job, "COMPLETED" if status_code == "TIMED_OUT" else "FAILED")
    assert [each["id"] for each in gate.jobs] == [job, job]
    assert calls.get("/health").json()["jobs"]["retried"] == 1


def test_an_answer_to_the_attempt_before_a_retry_does_not_count(calls, gate, clock):
    job = run(calls, {**HELD, "deaf": 1.0})
    until_status(calls, job, "IN_PROGRESS")
    clock.seconds += 600
    assert status(calls, job)["status"] == "TIMED_OUT"
    post(calls, f"/retry/{job}")
    assert status(calls, job)["status"] == "IN_QUEUE"  # the first attempt has the thread still
    until(lambda: len(gate.jobs) == 2)
    assert status(calls, job)["status"] == "IN_PROGRESS"
    gate.release.set()
    until_status(calls, job, "COMPLETED")
    assert gate.most == 1


def test_the_input_of_a_job_that_cannot_be_retried_is_let_go(calls):
    done = post(calls, "/runsync", input={"image": "A" * 1000})["id"]
    failed = post(calls, "/runsync", input={"answer": {"error": "x"}})["id"]
    endpoint = calls.app.state.endpoint
    assert not endpoint.find(done).submission.job
    assert endpoint.find(failed).submission.job


def test_other_jobs_are_not_retried(calls):
    job = post(calls, "/runsync", input={})["id"]
    response = calls.post(f"/retry/{job}")
    assert response.status_code == 400
    assert "FAILED or TIMED_OUT can be retried; this one is COMPLETED" in response.json()["error"]


def test_a_purge_takes_what_waits_and_leaves_what_runs(calls, gate):
    running = run(calls, HELD)
    until_status(calls, running, "IN_PROGRESS")
    waiting = [run(calls, {}), run(calls, {}, policy={"lowPriority": True})]
    assert post(calls, "/purge-queue") == {"removed": 2, "status": "completed"}
    assert [status(calls, job)["status"] for job in waiting] == ["CANCELLED", "CANCELLED"]
    gate.release.set()
    until_status(calls, running, "COMPLETED")


def test_health_counts_jobs_and_workers(calls, gate):
    assert calls.get("/health").json() == {
        "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0},
        "workers": {
            "idle": 1, "initializing": 0, "ready": 1, "running": 0, "throttled": 0, "unhealthy": 0
        },
    }  # fmt: skip
    post(calls, "/runsync", input={})
    post(calls, "/runsync", input={"answer": {"error": "x"}})
    until_status(calls, run(calls, HELD), "IN_PROGRESS")
    run(calls, {})
    health = calls.get("/v2/local/health").json()
    assert health["jobs"] == {
        "completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 0
    }  # fmt: skip
    assert (health["workers"]["running"], health["workers"]["idle"]) == (1, 0)


def test_the_stream_of_a_worker_that_streams_nothing_is_empty_and_says_when_it_is_over(calls, gate):
    job = run(calls, HELD)
    until_status(calls, job, "IN_PROGRESS")
    assert calls.get(f"/stream/{job}").json() == {"status": "IN_PROGRESS", "stream": []}
    gate.release.set()
    until_status(calls, job, "COMPLETED")
    assert calls.get(f"/stream/{job}").json() == {"status": "COMPLETED", "stream": []}


def test_calls_are_answered_while_the_model_loads_and_jobs_wait_for_it(gate):
    loaded = threading.Event()
    with client(create_app(gate, load=lambda _gate: loaded.wait(20))) as calls:
        assert calls.get("/health").json()["workers"]["initializing"] == 1
        job = run(calls, {})
        time.sleep(0.1)
        assert status(calls, job)["status"] == "IN_QUEUE"
        loaded.set()
        until_status(calls, job, "COMPLETED")
        assert calls.get("/health").json()["workers"]["initializing"] == 0


def test_a_model_that_cannot_be_loaded_makes_the_worker_unhealthy_and_says_why(gate, caplog):
    def load(_gate):
        raise ConfigError("no weights in /models")

    app = create_app(gate, load=load)
    with client(app) as calls:
        until(lambda: calls.get("/health").json()["workers"]["unhealthy"] == 1)
        assert calls.get("/health").json()["workers"]["ready"] == 0
    assert "no job can be run: no weights in /models" in caplog.text
    assert app.state.endpoint.broken.is_set()


def test_a_worker_that_asks_to_be_replaced_gets_its_model_loaded_anew(gate):
    made, loads = [], []

    def renew():
        made.append(StandInGate())
        return made[-1]

    with client(create_app(gate, load=loads.append, renew=renew)) as calls:
        broken = {"error": "INTERNAL: the GPU is gone", "refresh_worker": True}
        body = post(calls, "/runsync", input={"answer": broken})
        assert (body["status"], body["error"]) == ("FAILED", "INTERNAL: the GPU is gone")
        assert "output" not in body
        assert post(calls, "/runsync", input={"name": "next"})["status"] == "COMPLETED"
    assert gate.closed
    assert loads == [gate, *made]
    assert made[0].log == ["next begins", "next ends"]


def test_a_worker_that_cannot_be_replaced_goes_on_and_the_log_says_so(calls, caplog):
    post(calls, "/runsync", input={"answer": {"error": "x", "refresh_worker": True}})
    assert post(calls, "/runsync", input={})["status"] == "COMPLETED"
    assert "start the server anew" in caplog.text


def test_the_end_of_the_server_answers_everything(gate, caplog):
    caplog.set_level(logging.INFO)
    app = create_app(gate)
    with client(app) as calls:
        running, waiting = run(calls, {**HELD, "deaf": 0.2}), run(calls, {})
        until_status(calls, running, "IN_PROGRESS")
    assert gate.running == 0  # its thread was waited for
    assert gate.closed
    assert caplog.text.count("the job is CANCELLED") == 2
    assert not any(app.state.endpoint.find(job).submission.job for job in (running, waiting))


@pytest.mark.parametrize(("drain", "wanted"), [(10, "COMPLETED"), (0.2, "CANCELLED")])
def test_the_end_of_the_server_lets_the_running_job_go_on_for_a_while(gate, drain, wanted):
    async def life():
        endpoint = Endpoint(gate, rules=Rules())
        endpoint.open()
        running, waiting = (endpoint.submit("run", submission(HELD)) for _ in range(2))
        while not gate.log:
            await asyncio.sleep(0.01)
        ending = asyncio.create_task(endpoint.close(drain=drain))
        await asyncio.sleep(0.1)
        assert (running.body()["status"], waiting.body()["status"]) == ("IN_PROGRESS", "CANCELLED")
        with pytest.raises(Refusal, match="is stopping"):
            endpoint.submit("run", submission({}))
        if wanted == "COMPLETED":
            gate.release.set()
        await asyncio.wait_for(ending, 5)
        assert running.body()["status"] == wanted
        assert gate.running == 0

    asyncio.run(life())


def submission(given):
    return read_submission(json.dumps({"input": given}).encode())


def test_more_jobs_than_one_worker_may_have_waiting_are_refused(gate):
    with client(create_app(gate, rules=Rules(queued=2))) as calls:
        until_status(calls, run(calls, HELD), "IN_PROGRESS")
        run(calls, {}), run(calls, {}, policy={"lowPriority": True})
        response = calls.post("/run", json={"input": {}})
        assert response.status_code == 429
        assert "2 jobs are waiting" in response.json()["error"]
