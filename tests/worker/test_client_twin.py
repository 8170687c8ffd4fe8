"""The client against the local twin: its protocol on a stand-in gate, and a clip on the worker."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import av
import pytest
import uvicorn

from ltx2.client import Client, JobCancelled, JobFailed, JobGone, RefusedKey, WaitedTooLong
from ltx2.serve import Rules, create_app
from tests.rules.tree import ROOT
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


def test_a_clip_of_the_embedded_checkpoint_is_made_followed_and_saved(tiny, tmp_path):
    """The whole way: `ltx2 serve` in a process of its own, and an MP4 that decodes."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LTX2_CACHE": str(tiny.parent),
        "LTX2_KEEP_FOLDER": str(tmp_path / "kept"),
        "LTX2_DOWNLOAD": "0",
    }
    command = [sys.executable, "-m", "ltx2", "serve", "--port", "0", "--checkpoint", "tiny"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stdout is not None
            url = served.stdout.readline().strip()
            seen = []
            given = {"prompt": "x", "width": 256, "height": 256, "num_frames": 25, "seed": 1}
            with Client(url, polls=(0.05, 0.2)) as client:
                path = tmp_path / "a.mp4"
                outcome = client.run(
                    {**given, "generation_id": "one"}, save=path, progress=seen.append, timeout=120
                )
                again = client.run({**given, "generation_id": "one"}, timeout=60)
        finally:
            served.send_signal(signal.SIGTERM)
            served.communicate(timeout=60)
    with av.open(str(path)) as file:
        assert sum(1 for _ in file.decode(video=0)) == 25
    assert outcome.result["seed"] == 1
    assert again.result["sha256"] == outcome.result["sha256"]
    numbers = [state["seq"] for state in seen]
    assert numbers == sorted(set(numbers))
