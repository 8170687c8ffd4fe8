"""The local twin's webhooks: the whole status, three tries, and never in a job's way."""

import logging
import time

import pytest
from starlette.testclient import TestClient

from ltx2.serve import Rules, create_app
from tests.worker.standin_gate import Clock, StandInGate
from tests.worker.webhook_receiver import Receiver

QUICK = Rules(webhook_pause=0.05)


@pytest.fixture
def gate():
    return StandInGate()


def serving(gate, rules=QUICK, **options):
    app = create_app(gate, rules=rules, **options)
    return TestClient(app, base_url="http://127.0.0.1:8000")


def until(question, seconds=10):
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def submit(calls, receiver, given=None):
    """The id of a job that tells the receiver."""
    return calls.post("/run", json={"input": given or {}, "webhook": receiver.url}).json()["id"]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [({"a": 1}, "COMPLETED"), ({"error": "X: no", "error_code": "X"}, "FAILED")],
)
def test_a_webhook_gets_what_status_says_of_the_ended_job(gate, answer, wanted):
    with Receiver() as receiver, serving(gate) as calls:
        job = submit(calls, receiver, {"answer": answer})
        until(lambda: receiver.posts)
        content, body = receiver.posts[0]
        assert content == "application/json"
        assert body == calls.get(f"/status/{job}").json()
        assert (body["id"], body["status"], body["webhook"]) == (job, wanted, receiver.url)


def test_a_job_that_is_called_off_tells_its_webhook(gate):
    with Receiver() as receiver, serving(gate) as calls:
        job = submit(calls, receiver, {"hold": True})
        calls.post(f"/cancel/{job}")
        until(lambda: receiver.posts)
        assert receiver.posts[0][1]["status"] == "CANCELLED"


def test_a_job_that_is_deleted_while_it_runs_tells_nobody(gate):
    clock = Clock()
    with Receiver() as receiver:
        with serving(gate, clock=clock) as calls:
            body = {"input": {"hold": True}, "webhook": receiver.url, "policy": {"ttl": 60_000}}
            job = calls.post("/run", json=body).json()["id"]
            until(lambda: calls.get(f"/status/{job}").json()["status"] == "IN_PROGRESS")
            clock.seconds += 60
            assert calls.get(f"/status/{job}").status_code == 404
            until(lambda: gate.running == 0)
        assert receiver.posts == []  # and the server's end would have sent it


def test_a_webhook_that_is_not_taken_is_tried_twice_more_with_a_pause(gate, caplog):
    with Receiver(500, 404) as receiver, serving(gate) as calls:
        submit(calls, receiver)
        until(lambda: len(receiver.posts) == 3)
        time.sleep(0.3)
        assert len(receiver.posts) == 3
    first, second, third = receiver.times
    assert second - first >= 0.05
    assert third - second >= 0.05
    assert receiver.posts[0] == receiver.posts[1] == receiver.posts[2]
    assert "try 1: 127.0.0.1 said 500" in caplog.text
    assert "try 2: 127.0.0.1 said 404" in caplog.text
    assert "given up" not in caplog.text


@pytest.mark.parametrize("answer", [201, 204, 307, 500])
def test_only_200_takes_a_webhook_and_after_three_tries_it_is_given_up(gate, caplog, answer):
    with Receiver(*[answer] * 5) as receiver, serving(gate) as calls:
        submit(calls, receiver)
        until(lambda: "is given up" in caplog.text)
        assert len(receiver.posts) == 3


def test_a_receiver_that_hangs_or_is_not_there_holds_up_no_job(gate, caplog):
    caplog.set_level(logging.INFO)
    hanging = Rules(webhook_pause=0.05, webhook_seconds=1.0)
    with Receiver("hang", "hang", "hang") as receiver, serving(gate, hanging) as calls:
        submit(calls, receiver)
        until(lambda: receiver.posts)
        gone = Receiver()
        gone.server.server_close()
        submit(calls, gone)
        assert calls.post("/runsync", json={"input": {}}).json()["status"] == "COMPLETED"
        assert "said nothing" not in caplog.text  # the receiver was still being waited for
        until(lambda: caplog.text.count("is given up") == 2)
    assert "said nothing within 1 s" in caplog.text
    assert "said ConnectError" in caplog.text


def test_the_log_never_holds_a_webhooks_address(gate, caplog):
    caplog.set_level(logging.DEBUG)
    with Receiver(500) as receiver, serving(gate) as calls:
        submit(calls, receiver)
        until(lambda: len(receiver.posts) == 2)
    ours = "\n".join(line.getMessage() for line in caplog.records if line.name.startswith("ltx2"))
    assert "the webhook" in ours
    assert "s3cr3t" not in ours


def test_the_pause_between_two_tries_is_the_platforms():
    assert (Rules().webhook_tries, Rules().webhook_pause) == (3, 10.0)


def test_the_end_of_the_server_sends_what_is_left(gate):
    with Receiver() as receiver:
        with serving(gate) as calls:
            job = submit(calls, receiver, {"hold": True})
        assert [body["id"] for _, body in receiver.posts] == [job]
        assert receiver.posts[0][1]["status"] == "CANCELLED"
