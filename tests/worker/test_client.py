"""The client of the worker against a double of the job API, over real HTTP on loopback."""

import base64
import hashlib
import logging
import subprocess
import sys
import time
import traceback

import pytest

from ltx2 import client as client_module
from ltx2.client import (
    Client,
    JobCancelled,
    JobError,
    JobFailed,
    JobGone,
    JobTimedOut,
    RateLimited,
    Refusal,
    RefusedKey,
    ServiceError,
    Unsure,
    WaitedTooLong,
    data_uri,
)
from ltx2.errors import BadRequest, ConfigError, DeliveryFailed, TooLarge
from ltx2.rest import Service, rate_left, retry_after
from tests.worker.job_api import JobApi, progress
from tests.worker.loopback import Reply

CLIP = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
POLLS = (0.01, 0.05)
IN_QUEUE = {"status": "IN_QUEUE"}


def facts(clip=CLIP):
    return {"bytes": len(clip), "sha256": hashlib.sha256(clip).hexdigest(), "seed": 7}


def result(**more):
    return {**facts(), "video": base64.b64encode(CLIP).decode(), **more}


def done(output=None, **more):
    return {"status": "COMPLETED", "output": output or result(), **more}


def running(seq, worker="w1"):
    return {"status": "IN_PROGRESS", "output": progress(seq, 10.0 * seq), "workerId": worker}


@pytest.fixture
def api():
    api = JobApi()
    yield api
    api.close()


@pytest.fixture
def client(api):
    with Client(api.url, api.key, polls=POLLS, timeout=5) as client:
        yield client


def test_a_job_is_submitted_followed_and_saved(api, client, tmp_path):
    api.script = [
        IN_QUEUE,
        {"status": "IN_PROGRESS"},
        running(0),
        running(0),
        running(3),
        done(delayTime=1500, executionTime=2500, workerId="w1"),
    ]
    seen = []
    outcome = client.run(
        {"prompt": "Rain"},
        save=tmp_path / "rain.mp4",
        progress=seen.append,
        webhook="https://example.com/hook",
        policy={"executionTimeout": 900_000},
        s3_config={"accessId": "a"},
    )
    assert seen == [progress(0, 0.0), progress(3, 30.0)]
    assert (tmp_path / "rain.mp4").read_bytes() == CLIP
    assert list(tmp_path.iterdir()) == [tmp_path / "rain.mp4"]
    assert (outcome.delay_seconds, outcome.execution_seconds, outcome.worker) == (1.5, 2.5, "w1")
    assert outcome.result["seed"] == 7
    assert api.jobs["job-1"].body == {
        "input": {"prompt": "Rain"},
        "webhook": "https://example.com/hook",
        "policy": {"executionTimeout": 900_000},
        "s3Config": {"accessId": "a"},
    }


def test_a_request_is_sent_as_the_fields_that_were_given(api, client):
    import ltx2

    client.submit(ltx2.Request(prompt="Rain", mode="pro", seed=7))
    client.submit({"action": "health"})
    assert [job.body["input"] for job in api.jobs.values()] == [
        {"prompt": "Rain", "mode": "pro", "seed": 7},
        {"action": "health"},
    ]


def test_progress_of_a_worker_that_took_over_starts_anew(api, client):
    api.script = [running(4), IN_QUEUE, running(0, "w2"), running(1, "w2"), done()]
    seen = []
    client.submit({"prompt": "x"}).wait(seen.append)
    assert [state["seq"] for state in seen] == [4, 0, 1]


def test_a_job_can_be_waited_for_by_its_id_from_another_process(api, client):
    api.script = [done()]
    name = client.submit({"prompt": "x"}).id
    assert client.job(name).wait().result["seed"] == 7
    with pytest.raises(BadRequest, match="job_id"):
        client.job("../run")


def test_the_worker_s_code_is_the_error_s(api, client):
    api.script = [{"status": "FAILED", "error": "TOO_LARGE: 20 s of 1080p; about 8 s fit"}]
    with pytest.raises(JobFailed, match="about 8 s fit") as caught:
        client.run({"prompt": "x"})
    assert (caught.value.code, caught.value.job_id) == ("TOO_LARGE", "job-1")
    assert api.jobs["job-1"].cancels == 0


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ({"status": "FAILED"}, JobFailed, "INTERNAL"),
        ({"status": "FAILED", "error": "worker exited"}, JobFailed, "INTERNAL"),
        ({"status": "CANCELLED"}, JobCancelled, "CANCELLED"),
        ({"status": "TIMED_OUT"}, JobTimedOut, "DEADLINE"),
        ({"status": "COMPLETED"}, JobFailed, "DELIVERY_FAILED"),
        ({"status": "COMPLETED", "output": {}}, JobFailed, "DELIVERY_FAILED"),
    ],
)
def test_every_other_end_has_its_error(api, client, status, kind, code):
    api.script = [status]
    with pytest.raises(kind) as caught:
        client.submit({"prompt": "x"}).wait()
    assert type(caught.value) is kind
    assert caught.value.code == code


def test_a_forgotten_job_is_gone(api, client):
    api.ttl = 0.1
    api.script = [IN_QUEUE]
    job = client.submit({"prompt": "x"})
    with pytest.raises(JobGone):
        job.wait(timeout=5)
    for look in (job.status, job.cancel):
        with pytest.raises(JobGone):
            look()


def test_waiting_ends_and_the_job_goes_on(api, client):
    job = client.submit({"prompt": "x"})
    with pytest.raises(WaitedTooLong, match=r"IN_QUEUE after 0\.1 s"):
        job.wait(timeout=0.1)
    assert not api.jobs[job.id].cancelled
    assert job.cancel().state == "CANCELLED"
    with pytest.raises(JobCancelled):
        job.wait()


def test_a_run_that_nobody_waits_for_any_more_is_cancelled(api, client):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(WaitedTooLong):
        client.run({"prompt": "x"}, timeout=0.05)
    api.script = [running(0)]
    with pytest.raises(KeyboardInterrupt):
        client.run({"prompt": "x"}, progress=interrupt)
    assert [job.cancels for job in api.jobs.values()] == [1, 1]


def test_a_cancel_that_fails_is_told_beside_the_reason(api, client):
    def interrupt(_):
        api.jobs["job-1"].gone_at = 0.0
        raise KeyboardInterrupt

    api.script = [running(0)]
    with pytest.raises(KeyboardInterrupt) as caught:
        client.run({"prompt": "x"}, progress=interrupt)
    assert "could not be cancelled" in caught.value.__notes__[0]


def test_looking_at_a_job_survives_a_bad_line_and_a_busy_server(api, client):
    api.script = [running(0), done()]
    job = client.submit({"prompt": "x"})
    api.faults = [Reply(drop=True), Reply(status=502), Reply(status=429)]
    assert job.wait().result["seed"] == 7
    assert len(api.sent("GET")) == 5


def test_retry_after_is_kept(api, client):
    job = client.submit({"prompt": "x"})
    api.faults = [Reply(status=429, headers={"Retry-After": "1"})]
    job.status()
    first, second = api.sent("GET")
    assert 1.0 <= second.at - first.at < 3.0


def test_a_server_that_asks_for_too_long_a_rest_is_an_error_at_once(api, client):
    api.faults = [Reply(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(RateLimited, match="3600 s") as caught:
        client.submit({"prompt": "x"})
    assert caught.value.seconds == 3600
    assert len(api.calls) == 1


def test_an_exhausted_rate_is_waited_out_before_the_next_question(api, client):
    api.always = {"RateLimit": "limit=60, remaining=0, reset=1"}
    job = client.submit({"prompt": "x"})
    job.status()
    first, second = api.calls
    assert second.at - first.at >= 0.9


def test_tries_come_to_an_end(api):
    with Service(api.url, api.key, name="it", pause=lambda _: None) as service:
        api.faults = [Reply(status=503, body={"error": "down"})] * 9
        with pytest.raises(ServiceError, match="503: down"):
            service.ask("GET", "/health")
        assert len(api.calls) == 5
        api.faults = [Reply(status=429)] * 9
        with pytest.raises(RateLimited):
            service.ask("GET", "/health")
        api.faults = [Reply(drop=True)] * 9
        with pytest.raises(ServiceError, match="after 5 tries"):
            service.ask("GET", "/health")


@pytest.mark.parametrize("fault", [Reply(drop=True), Reply(status=500), Reply(status=504)])
def test_a_job_is_not_sent_twice_where_the_first_may_run(api, client, fault):
    api.after = [fault]  # the job was taken, and the answer was lost
    with pytest.raises(Unsure, match="generation_id"):
        client.submit({"prompt": "x"})
    assert len(api.sent("POST", "/run")) == len(api.jobs) == 1


def test_a_job_with_a_generation_id_is_sent_again(api, client):
    api.after = [Reply(drop=True)]
    assert client.submit({"prompt": "x", "generation_id": "42"}).id == "job-2"
    assert len(api.sent("POST", "/run")) == 2


def test_a_job_that_was_turned_away_is_sent_again(api, client):
    api.faults = [Reply(status=429)]
    assert client.submit({"prompt": "x"}).id == "job-1"


def test_a_slow_server_is_not_waited_for_longer_than_the_timeout(api):
    api.faults = [Reply(seconds=1.0)]
    with (
        Client(api.url, api.key, timeout=0.2) as client,
        pytest.raises(Unsure, match="ReadTimeout"),
    ):
        client.submit({"prompt": "x"})


def test_nobody_at_the_address_is_told_without_the_key(api):
    api.close()
    with Client(api.url, api.key) as client, pytest.raises(ServiceError, match="cannot be reached"):
        client.job("a")._look(until=time.monotonic() + 0.1)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(status=401, body={"error": "unauthorized"}), RefusedKey, "check the API key"),
        (Reply(status=403), RefusedKey, "403"),
        (Reply(status=400, body={"error": "input is missing"}), Refusal, "input is missing"),
        (Reply(status=307, headers={"Location": "https://evil.example"}), ServiceError, "307"),
        (Reply(body=b"<html>"), ServiceError, "no JSON"),
        (Reply(body=b"{}", headers={"Content-Encoding": "gzip"}), Unsure, "DecodingError"),
        (Reply(body={"id": 5}), ServiceError, "id and status"),
        (Reply(status=404), ServiceError, "the endpoint?"),
    ],
)
def test_a_refusal_is_told_in_the_server_s_words(api, client, reply, kind, words):
    api.faults = [reply]
    with pytest.raises(kind, match=words.replace("?", r"\?")) as caught:
        client.submit({"prompt": "x"})
    assert type(caught.value) is kind or kind is ServiceError
    assert len(api.calls) == 1


def test_the_key_is_in_no_message_no_text_and_no_log(api, client, caplog):
    caplog.set_level(logging.DEBUG)
    key = api.key
    said = [repr(client), repr(client.job("a"))]
    echo = {"error": f"the key {key} may not do this"}
    for fault in (Reply(status=403, body=echo), Reply(status=400, body=echo), Reply(drop=True)):
        api.faults = [fault]
        with pytest.raises(ServiceError) as caught:
            client.submit({"prompt": "x"})
        said += traceback.format_exception(caught.value)
        said += [str(vars(error)) for error in (caught.value, caught.value.__cause__) if error]
    assert "***" in "".join(said)
    assert key not in "".join(said)
    assert key not in caplog.text


def test_a_key_of_the_environment_goes_to_runpod_alone(api, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_ENVIRONMENT")
    api.key = None
    with Client(api.url) as client:
        client.health()
    assert "Authorization" not in api.calls[0].headers
    with Client("abc123") as client:
        assert repr(client) == "Client('https://api.runpod.ai/v2/abc123')"
        assert client._service._line.headers["Authorization"] == "Bearer rpa_ENVIRONMENT"


def test_an_endpoint_and_a_key_are_checked_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="RUNPOD_API_KEY"):
        Client("abc123")
    with pytest.raises(ConfigError, match="copy it again") as caught:
        Client("abc123", "key\nwith a line")
    assert "with a line" not in str(caught.value)
    for wrong in (
        "",
        "a b",
        "ftp://x/v2/a",
        "https://u:p@x/v2/a",
        "https://x/v2/a?k=1",
        "https://",
    ):
        with pytest.raises(BadRequest, match="endpoint must"):
            Client(wrong, "key")
    with pytest.raises(BadRequest, match="https"):
        Client("http://192.168.1.5:8000/v2/local", "key")  # the key would be readable on the way
    Client("http://192.168.1.5:8000/v2/local").close()


def test_what_cannot_be_sent_is_refused_before_it_is(api, client):
    with pytest.raises(TooLarge, match="by URL"):
        client.submit({"prompt": "x", "image": "A" * 10_000_001})
    with pytest.raises(BadRequest, match="JSON"):
        client.submit({"prompt": "x", "image_strength": float("nan")})
    assert api.calls == []


def test_health_is_the_endpoint_s(client):
    assert client.health()["workers"] == {"idle": 1, "running": 0}


def outcome_of(output):
    return client_module.Outcome(result=output, job_id="job-1")


def test_a_clip_behind_a_link_is_saved_without_the_key(api, tmp_path):
    api.files["/clip.mp4"] = Reply(body=CLIP)
    link = f"{api.address}/clip.mp4?X-Amz-Signature=SIGNED"
    assert outcome_of({**facts(), "video_url": link}).save(tmp_path / "a.mp4").read_bytes() == CLIP
    assert "Authorization" not in api.calls[0].headers


def test_a_store_that_stumbles_is_asked_again(api, tmp_path):
    api.files["/clip.mp4"] = Reply(body=CLIP)
    api.faults = [Reply(drop=True)]
    outcome_of({**facts(), "video_url": f"{api.address}/clip.mp4"}).save(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == CLIP


def test_a_link_that_is_over_says_how_to_get_another(api, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    api.files["/clip.mp4"] = Reply(status=403, body=b"<Error>")
    link = f"{api.address}/clip.mp4?X-Amz-Signature=SIGNED"
    with pytest.raises(ServiceError, match="same generation_id") as caught:
        outcome_of({**facts(), "video_url": link}).save(tmp_path / "a.mp4")
    assert "SIGNED" not in str(caught.value) + caplog.text
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({**facts(), "video": base64.b64encode(CLIP[:-1]).decode()}, "of 10,252 bytes"),
        ({**facts(), "video": base64.b64encode(CLIP + b"x").decode()}, "more than the 10,252"),
        ({**facts(), "video": base64.b64encode(CLIP[:-1] + b"x").decode()}, "sha256 differs"),
        ({**facts(), "video": "no base64!"}, "no base64"),
        ({"video": base64.b64encode(CLIP).decode()}, "no bytes and sha256"),
        ({**facts()}, "neither video nor video_url"),
        ({**facts(), "video_url": "s3://bucket/42/video.mp4"}, "store's own keys"),
    ],
)
def test_what_is_not_the_announced_clip_leaves_no_file(tmp_path, output, words):
    (tmp_path / "a.mp4").write_bytes(b"before")
    with pytest.raises(ServiceError, match=words):
        outcome_of(output).save(tmp_path / "a.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"before"


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(DeliveryFailed, match="cannot write"):
        outcome_of(result()).save(tmp_path / "absent" / "a.mp4")
    with pytest.raises(DeliveryFailed, match="it is a folder"):
        outcome_of(result()).save(tmp_path)


def test_a_place_that_cannot_be_written_is_told_before_a_clip_is_paid_for(api, client, tmp_path):
    for place in (tmp_path / "absent" / "a.mp4", tmp_path):
        with pytest.raises(DeliveryFailed, match="cannot write"):
            client.run({"prompt": "x"}, save=place)
    assert api.calls == []


def test_a_clip_that_could_not_be_saved_says_how_to_get_it(api, client, tmp_path):
    api.script = [done(result(video_url="s3://bucket/42/video.mp4", video=None))]
    with pytest.raises(ServiceError, match="store's own keys") as caught:
        client.run({"prompt": "x"}, save=tmp_path / "a.mp4")
    assert "job('job-1').wait().save" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


def test_a_picture_becomes_what_an_input_takes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG")
    assert data_uri(tmp_path / "a.png") == "data:image/png;base64,UE5H"
    with pytest.raises(BadRequest, match=r"\.jpg"):
        data_uri(tmp_path / "a.txt")
    with pytest.raises(BadRequest, match="cannot read"):
        data_uri(tmp_path / "absent.png")


def test_both_spellings_of_a_rate_limit_are_read():
    assert rate_left({"RateLimit": "limit=60, remaining=3, reset=7"}) == (3, 7.0)
    assert rate_left({"RateLimit": '"default";r=0;t=30'}) == (0, 30.0)
    assert rate_left({}) == (None, None)
    assert retry_after({"RateLimit": '"default";r=0;t=30'}) == 30.0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({"Retry-After": "soon"}) is None


def test_every_error_of_a_job_is_in_the_tree_of_the_page():
    names = {kind.__name__ for kind in JobError.__subclasses__()}
    assert names == {"JobFailed", "JobCancelled", "JobTimedOut", "JobGone", "WaitedTooLong"}
    assert all(name in (client_module.__doc__ or "") for name in names)
    assert all(hasattr(client_module, name) for name in client_module.__all__)


def test_the_client_loads_neither_torch_nor_the_platform_s_library():
    heavy = ("torch", "runpod", "pydantic", "PIL", "numpy", "boto3")
    code = f"import sys, ltx2.client; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
