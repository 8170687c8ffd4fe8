"""The client against the local twin: its protocol, on a stand-in gate."""

import base64
import hashlib
import threading
import time

import pytest
import uvicorn

from ltx2.client import Client, JobCancelled, JobFailed, JobGone, RefusedKey, WaitedTooLong
from ltx2.serve import Rules, create_app
from tests.worker.job_api import progress
from tests.worker.standin_gate import StandInGate

KEY = "a-key-of-the-twin"
CLIP = b"clip"
ANSWER = {
    "video": base64.b64encode(CLIP).decode(),
    "bytes": len(CLIP),
    "sha256": hashlib.sha256(CLIP).hexdigest(),
}


@pytest.fixture
def twin():
    """A gate and the address of a twin over it."""
    gate = StandInGate()
    app = create_app(gate, key=KEY, rules=Rules())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield gate, f"http://127.0.0.1:{port}/v2/local"
    gate.release.set()
    server.should_exit = True
    thread.join()


def test_the_client_and_the_twin_speak_one_protocol(twin, tmp_path):
    gate, url = twin
    with Client(url, "another-key") as client, pytest.raises(RefusedKey):
        client.health()
    with Client(url, KEY, polls=(0.01, 0.05)) as client:
        assert "jobs" in client.health()
        given = {"progress": [progress(0), progress(1)], "answer": ANSWER, "generation_id": "a"}
        outcome = client.run(given, save=tmp_path / "a.mp4", policy={"executionTimeout": 60_000})
        assert (tmp_path / "a.mp4").read_bytes() == CLIP
        assert outcome.execution_seconds is not None
        assert gate.jobs[0]["input"] == given
        with pytest.raises(JobFailed, match="about 8 s fit") as caught:
            client.run({"answer": {"error": "TOO_LARGE: about 8 s fit", "error_code": "TOO_LARGE"}})
        assert caught.value.code == "TOO_LARGE"
        with pytest.raises(JobGone):
            client.job("absent").status()


def test_progress_and_cancel_reach_the_client_through_the_twin(twin):
    _, url = twin
    seen = []
    with Client(url, KEY, polls=(0.01, 0.05)) as client:
        job = client.submit({"progress": [progress(3, 40.0)], "hold": True})
        with pytest.raises(WaitedTooLong):
            job.wait(seen.append, timeout=1.0)
        job.cancel()
        with pytest.raises(JobCancelled):
            job.wait(timeout=10)
    assert seen == [progress(3, 40.0)]
