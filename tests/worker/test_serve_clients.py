"""`ltx2 serve` in a process of its own, driven by curl and by RunPod's own client to a clip."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest
from PIL import Image

from ltx2.cli import main
from ltx2.client import Client, JobFailed
from ltx2.serve.server import address, listen
from tests.rules.tree import ROOT
from tests.worker.serve_examples import CURL, PLACE, PYTHON
from tests.worker.webhook_receiver import Receiver

SMALL = {"prompt": "x", "width": 128, "height": 128, "num_frames": 9, "seed": 1}
# Hundreds of short steps: there is time to look at it and to stop it, and little is lost then.
LONG = {**SMALL, "num_frames": 25, "mode": "pro", "num_inference_steps": 40}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The environment of a user with the embedded checkpoint and nothing else."""
    home = tmp_path_factory.mktemp("home")
    (home / "scratch").mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LTX2_KEEP_FOLDER": str(home / "kept"),
        "LTX2_SCRATCH": str(home / "scratch"),
        "LTX2_DOWNLOAD": "0",
    }


class Served:
    """A running `ltx2 serve`. `url` is its endpoint; `stop` gives its exit code and its log."""

    def __init__(self, environment, *options):
        command = [sys.executable, "-m", "ltx2", "serve", "--port", "0", "--checkpoint", "tiny"]
        # A file: a pipe that nobody reads is full after some jobs, and the server stands still.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when the server has ended
        self.process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()

    def log(self):
        """What it has said so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode()

    def said(self, pattern):
        """The first group of what it says; waits for it."""
        end = time.monotonic() + 60
        while not (found := re.search(pattern, self.log())):
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)
        return found[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        """Its exit code and its log; waits for its end."""
        return self.process.wait(60), self.log()

    def kill(self):
        self.process.kill()  # nothing where it has ended
        self.process.wait()
        self.process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def served(machine):
    server = Served(machine)
    yield server
    server.kill()


def call(url, body=None, **headers):
    """The JSON that a call answers with."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def check_clip(path, *, width=320, height=192, frames=49):
    """That a file is an MP4 which decodes to the end, with sound."""
    with av.open(path) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert (video.width, video.height) == (width, height)
        decoded = sum(1 for _ in file.decode(video))
        file.seek(0)
        samples = sum(frame.samples for frame in file.decode(sound))
    assert decoded == frames
    assert samples / sound.rate == pytest.approx(decoded / 24, abs=0.1)


def test_curl_as_the_readme_shows_it_saves_a_clip(served, machine, tmp_path):
    script = "set -eu\n" + CURL.replace(PLACE, served.url.removesuffix("/local"))
    shell = ["bash", "-o", "pipefail", "-c", script]
    subprocess.run(shell, cwd=tmp_path, env=machine, check=True, timeout=120)
    check_clip(tmp_path / "rain.mp4")
    body = json.loads((tmp_path / "job.json").read_text())
    assert (body["status"], body["output"]["seed"]) == ("COMPLETED", 7)
    assert body["output"]["bytes"] == (tmp_path / "rain.mp4").stat().st_size
    assert body["executionTime"] > 0


def test_runpods_client_as_the_readme_shows_it_saves_a_clip(served, machine, tmp_path):
    code = PYTHON.replace(PLACE, served.url.removesuffix("/local"))
    run_python(code, machine, tmp_path)
    check_clip(tmp_path / "rain.mp4")


def run_python(code, environment, folder):
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_operation_of_runpods_client_works(served, machine, tmp_path):
    code = f"""
import base64, json, pathlib, time
import runpod
runpod.endpoint_url_base = {served.url.removesuffix("/local")!r}
endpoint = runpod.Endpoint("local", api_key="any")
assert endpoint.health()["workers"]["unhealthy"] == 0
result = endpoint.run_sync({SMALL!r}, timeout=100)
pathlib.Path("sync.mp4").write_bytes(base64.b64decode(result["video"]))
running = endpoint.run({LONG!r})
waiting = endpoint.run({SMALL!r})
while running.status() == "IN_QUEUE":
    time.sleep(0.05)
assert endpoint.purge_queue() == {{"removed": 1, "status": "completed"}}
assert waiting.status() == "CANCELLED"
assert running.cancel()["status"] == "CANCELLED"
assert running.status() == "CANCELLED"
refused = endpoint.run({{"input": {{"promt": "x"}}}})
while refused.status() not in ("FAILED", "COMPLETED"):
    time.sleep(0.05)
print(refused.status(), refused.output()["error_code"])
after = endpoint.run({SMALL!r})
assert list(after.stream()) == []
print(after.output(timeout=60)["sha256"] == result["sha256"])
"""
    assert run_python(code, machine, tmp_path) == "FAILED BAD_REQUEST\nTrue\n"
    check_clip(tmp_path / "sync.mp4", width=128, height=128, frames=9)


def test_our_own_client_saves_a_clip_and_follows_it(served, tmp_path):
    seen = []
    with Client(served.url, polls=(0.05, 0.2)) as client:
        given = {**LONG, "num_inference_steps": 20, "generation_id": "one"}
        outcome = client.run(given, save=tmp_path / "own.mp4", progress=seen.append, timeout=120)
        again = client.run(given, timeout=60)
        with pytest.raises(JobFailed, match="promt"):
            client.run({"promt": "x"})
    check_clip(tmp_path / "own.mp4", width=128, height=128, frames=25)
    assert outcome.result["seed"] == 1
    assert again.result["sha256"] == outcome.result["sha256"]
    numbers = [state["seq"] for state in seen]
    assert numbers
    assert numbers == sorted(set(numbers))


def test_progress_is_seen_in_order_while_a_job_runs(served):
    job = call(f"{served.url}/run", {"input": LONG})["id"]
    seen = []
    while (body := call(f"{served.url}/status/{job}"))["status"] not in ("COMPLETED", "FAILED"):
        if body.get("output") not in (None, *seen[-1:]):
            seen.append(body["output"])
        time.sleep(0.05)
    assert body["status"] == "COMPLETED", body
    assert set(seen[0]) == {"seq", "phase", "step", "steps", "percent", "eta"}
    assert [each["seq"] for each in seen] == sorted({each["seq"] for each in seen})
    percents = [each["percent"] for each in seen]
    assert percents == sorted(percents)
    assert "video" in body["output"]


@pytest.mark.parametrize("action", ["health", "schema", "smoke"])
def test_the_workers_actions_are_answered(served, action):
    body = call(f"{served.url}/runsync", {"input": {"action": action}})
    assert body["status"] == "COMPLETED", body
    wanted = {"health": "status", "schema": "input", "smoke": "sha256"}[action]
    assert wanted in body["output"]


def red_ball():
    """A picture as a data URI."""
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def ended(served, given):
    """What /status says of a job when it is over."""
    job = call(f"{served.url}/run", {"input": given})["id"]
    end = time.monotonic() + 300
    while (body := call(f"{served.url}/status/{job}"))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
        assert time.monotonic() < end, (body, served.log())
        time.sleep(0.05)
    return body


@pytest.mark.slow
def test_a_prompt_is_enriched_with_and_without_its_picture(served):
    asked = {"action": "enhance", "prompt": "a red ball", "seed": 7}
    body = ended(served, asked)
    assert body["status"] == "COMPLETED", body
    words = body["output"]["prompt"]
    assert body["output"] == {"prompt": words, "seed": 7}
    assert words.strip() not in ("", "a red ball")
    seen = ended(served, {**asked, "image": red_ball()})
    assert seen["status"] == "COMPLETED", seen
    assert seen["output"]["prompt"] not in ("a red ball", words)


def test_a_body_above_the_limit_is_refused_so_that_curl_sees_it(served, tmp_path):
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"input": {"prompt": "x" * 10_500_000}}))
    header = ["-H", "content-type: application/json"]
    for path, code in (("run", "413"), ("runsync", "200")):
        command = ["curl", "-s", "-w", " %{http_code}", *header, "-d", f"@{large}"]
        done = subprocess.run(
            [*command, f"{served.url}/{path}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.rpartition(" ")[2] == code, done.stdout[:200]
    assert json.loads(done.stdout.rpartition(" ")[0])["status"] == "FAILED"  # too long a prompt


def test_a_server_answers_while_it_loads_shows_a_call_that_works_and_ends_in_order(
    machine, tmp_path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**machine, "LTX2_SERVE_KEY": "open sesame", "LTX2_SCRATCH": str(scratch)}
    server = Served(environment)
    try:
        shown = server.said(r"try: (curl .+)\n")
        assert keyed(f"{server.url}/health")["workers"]["initializing"] == 1
        done = subprocess.run(
            ["bash", "-c", shown],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert json.loads(done.stdout)["output"]["content_type"] == "video/mp4"
        with Receiver() as receiver:
            jobs = [
                keyed(f"{server.url}/run", {"input": given, "webhook": receiver.url})["id"]
                for given in (LONG, SMALL)
            ]
            while keyed(f"{server.url}/status/{jobs[0]}").get("output") is None:
                time.sleep(0.05)  # its first progress
            code, log = server.stop()
        assert code == 0, log
        ended = {body["id"]: body["status"] for _, body in receiver.posts}
        assert ended == dict.fromkeys(jobs, "CANCELLED")
        assert list(scratch.iterdir()) == []
        assert "checkpoint tiny: " in log
        assert "note: tiny is a toy" in log
        for absent in ("Traceback", "open sesame", "s3cr3t"):
            assert absent not in log
    finally:
        server.kill()


def keyed(url, body=None):
    return call(url, body, authorization="Bearer open sesame")


def test_a_model_that_is_not_there_ends_the_command_with_the_reason(machine, tmp_path):
    nowhere = {"LTX2_BAKED_WEIGHTS", "LTX2_VOLUME_WEIGHTS", "LTX2_RUNPOD_CACHE"}
    environment = {**machine, **dict.fromkeys(nowhere, str(tmp_path / "none"))}
    server = Served(environment, "--checkpoint", "ltx-2.3")
    try:
        code, log = server.ended()
        assert code == 1, log
        assert re.search(r"^error: .*ltx-2\.3", log, re.M), log
        assert "Traceback" not in log
    finally:
        server.kill()


def refused(machine, *options):
    """What the command says to options that it does not take."""
    done = subprocess.run(
        [sys.executable, "-m", "ltx2", "serve", *options],
        env=machine,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.2", "gpu.example"])
def test_a_host_that_others_can_reach_needs_a_key(capsys, monkeypatch, host):
    monkeypatch.delenv("LTX2_SERVE_KEY", raising=False)
    assert main(["serve", "--host", host]) == 2
    out, said = capsys.readouterr()
    assert f"--host {host} lets other machines in; set LTX2_SERVE_KEY" in said
    assert out == ""


def test_all_faults_of_the_options_are_told_at_once(machine):
    said = refused(machine, "--port", "80000", "--drain", "soon", "--device", "tpu")
    assert said.count("error: ") == 3
    for option in ("--port must be 0 to 65535", "--drain must be 0 to 86400", "--device must be"):
        assert option in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_for_every_address_shows_one_that_reaches_it(host):
    if host == "::" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listening:
        place = urlsplit(address(listening, host))
        with socket.create_connection((place.hostname, place.port), timeout=10) as line:
            assert line.getpeername()[:2] == (place.hostname, place.port)


def test_a_port_that_is_taken_is_said_so(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    said = f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; --port 0"
    assert said in capsys.readouterr().err


def test_the_readme_shows_no_other_calls_than_those_that_are_tested_here():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:sh|bash|python)?\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        if "/v2" in block and ":8000" in block:
            assert block.strip() in (CURL.strip(), PYTHON.strip())


def test_curl_is_on_this_machine():
    assert shutil.which("curl")
