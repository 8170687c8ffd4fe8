"""The worker under the SDK's real loop, in a process of its own, on a double of the platform."""

import base64
import hashlib
import io
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.worker.job_taking import PACED, platform, worker

CLIP = {"prompt": "a boat", "seed": 5, "width": 64, "height": 64, "num_frames": 9}
SLOW = 0.25  # seconds of a step; every phase of a clip can then be seen and stopped in


def clip_of(answer, data=None):
    """The frames of an answer's clip, once its bytes are what it says they are.

    `data` are the bytes where it only links to them.
    """
    output = answer["output"]
    data = data or base64.b64decode(output["video"])
    assert hashlib.sha256(data).hexdigest() == output["sha256"]
    with av.open(io.BytesIO(data)) as file:
        return sum(1 for _ in file.decode(video=0))


class SlowServer:
    """A picture that comes byte by byte, and a place to PUT that takes its time or refuses."""

    def __init__(self):
        self.status, self.hold, self.got = 200, threading.Event(), {}
        self.asked = threading.Event()
        self.hold.set()
        server = self
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(picture, "PNG")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                data = picture.getvalue()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                server.asked.set()
                for byte in data:
                    if not server.hold.is_set():
                        time.sleep(0.3)
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()

            def do_PUT(self):
                server.asked.set()
                data = self.rfile.read(int(self.headers["Content-Length"]))
                server.hold.wait(60)
                if server.status == 200:
                    server.got[self.path.partition("?")[0]] = data
                self.send_response(server.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A caller that stops leaves in the middle."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def slow():
    server = SlowServer()
    yield server
    server.close()


def ended(process, phase):
    """Whether a phase of a job has ended, by the worker's log, which is there at once."""
    return lambda job: lambda: process.said(f"{phase} took", job)


@pytest.mark.slow
def test_jobs_are_answered_once_in_order_and_cancelled_ones_never(tiny, tmp_path, slow):
    with platform(slow=0.3) as double, worker(double, tmp_path, tiny, script=PACED) as process:
        process.slow_down(SLOW)
        double.give("normal", {**CLIP, "generation_id": "g1"}, webhook="http://example", odd=1)
        answer = double.answer("normal")
        assert clip_of(answer) == 9
        assert answer["output"]["generation_id"] == "g1"
        assert len(double.answers("normal")) == 1

        # Progress: numbered, rising, and all of it before the answer.
        told = [post.progress for post in double.progress("normal")]
        assert len(told) >= 2
        assert [each["seq"] for each in told] == list(range(len(told)))
        assert [each["percent"] for each in told] == sorted(each["percent"] for each in told)
        assert set(told[0]) == {"seq", "phase", "step", "steps", "percent", "eta"}
        assert double.posts[-1].progress is None
        times = [post.at for post in double.progress("normal")]
        # A second apart where they are sent; on the way a busy machine may hold one up.
        assert all(b - a > 0.5 for a, b in pairwise(times))

        # Refused jobs fail with a code, and without a traceback or a host name.
        double.give("bad", {"prompt": "", "sead": 1})
        refused = double.answer("bad")
        assert refused["error"].startswith("BAD_REQUEST: ")
        assert "sead" in refused["error"]
        assert "Traceback" not in str(refused)
        assert "pod1" not in str(refused)

        double.give("health", {"action": "health"})
        health = double.answer("health")["output"]
        assert health["status"] == "ready"
        assert health["jobs"] == {"finished": 1, "failed": 1, "cancelled": 0}
        assert "start" in health["start"]
        floor = (process.descriptors(), process.threads(), process.memory())

        # Eight moments to stop at; after each the next job is answered.
        moments = [
            # The SDK drops a stop that comes before it has begun the job.
            ("take", CLIP, lambda job: lambda: f"{job} | Started." in process.text(), 1),
            ("prompt", CLIP, ended(process, "load"), 1),
            ("base", CLIP, ended(process, "prompt"), 2),
            ("guided", {**CLIP, "mode": "pro"}, ended(process, "prompt"), 1),
            ("refine", CLIP, ended(process, "base"), 1),
            ("decode", CLIP, ended(process, "sound"), 1),
            ("fetch", {**CLIP, "image_url": f"{slow.url}/a.png"}, lambda _: slow.asked.is_set, 1),
            ("upload", {**CLIP, "upload_url": f"{slow.url}/up?s"}, lambda _: slow.asked.is_set, 3),
        ]
        for number, (name, given, moment, signals) in enumerate(moments):
            slow.asked.clear()
            if name in ("fetch", "upload"):
                slow.hold.clear()
            double.give(name, {**given, "seed": 100 + number})
            double.wait(moment(name))
            for _ in range(signals):
                double.stop(name)
            double.wait(lambda name=name: f"{name} | Job stopped." in process.text())
            slow.hold.set()
            double.give(f"after-{name}", {"action": "schema"})
            assert "input" in double.answer(f"after-{name}")["output"]
            assert double.answers(name) == [], name
        # After the work is done a stop is harmless.
        process.slow_down(0)
        double.give("done", CLIP)
        double.answer("done")
        double.stop("done")
        double.give("last", {**CLIP, "seed": 9})
        assert clip_of(double.answer("last")) == 9

        double.wait(lambda: process.descriptors() <= floor[0] + 4, 20)
        assert process.threads() <= floor[1] + 4
        assert process.memory() < floor[2] + 250e6
        assert list((tmp_path / "scratch").iterdir()) == []
        for name, _, _, _ in moments:
            assert double.answers(name) == [], name
        # SIGTERM lets the job that runs finish.
        process.slow_down(SLOW)
        double.give("drained", {**CLIP, "seed": 77})
        double.wait(ended(process, "prompt")("drained"))
        assert process.end(signal.SIGTERM, 120) == 0
        assert clip_of(double.answer("drained", 1)) == 9


@pytest.mark.slow
def test_nothing_finished_is_lost(tiny, tmp_path, slow):
    sizes = {"limit": 2}

    def refuse(job, body, before):
        if job == "refused":
            return 400
        if job == "shaken":
            return 500 if before < sizes["limit"] else 200
        return 500 if job == "dropped" else 200

    folder = tmp_path / "w"
    with platform(refuse=refuse) as double:
        with worker(double, folder, tiny, script=PACED) as process:
            # The platform refuses the answer, for good or for a while: the clip is there still.
            for job, attempts in (("refused", 1), ("shaken", 3), ("dropped", 3)):
                double.give(job, {**CLIP, "generation_id": f"id-{job}"})
                double.wait(lambda job=job, n=attempts: len(double.answers(job)) >= n)
                double.give(f"{job}-again", {**CLIP, "generation_id": f"id-{job}"})
                again = double.answer(f"{job}-again")
                assert again["output"]["sha256"] == double.answers(job)[0].body["output"]["sha256"]
                assert process.said("finished already", f"{job}-again")
            # The same number twice, as the platform's own retry.
            double.give("twice", CLIP)
            double.answer("twice")
            before = len(double.answers("twice"))
            double.give("twice", CLIP)
            double.wait(lambda: len(double.answers("twice")) > before)
            assert process.said("finished already", "twice")
            # An upload that fails: an error that says what to do, and no second computation.
            slow.status = 403
            upload = {**CLIP, "seed": 8, "generation_id": "up", "output": "url"}
            double.give("up-1", {**upload, "upload_url": f"{slow.url}/clip?sign=secret"})
            failed = double.answer("up-1")
            assert failed["error"].startswith("DELIVERY_FAILED: ")
            assert "secret" not in str(failed)
            slow.status = 200
            double.give("up-2", {**upload, "upload_url": f"{slow.url}/clip?sign=other"})
            delivered = double.answer("up-2")["output"]
            assert delivered["video_url"] == f"{slow.url}/clip"
            assert hashlib.sha256(slow.got["/clip"]).hexdigest() == delivered["sha256"]
            assert process.said("finished already", "up-2")
            # A crash in the middle: another process does the job.
            process.slow_down(SLOW)
            double.give("crash", {**CLIP, "generation_id": "c"})
            double.wait(ended(process, "base")("crash"))
            process.end(signal.SIGKILL)
            assert list((folder / "scratch").iterdir())
        # One that may answer with little; and a clip that is too large is not made again, either.
        # Its weights are found by their name.
        given = {"LTX2_CHECKPOINT": "tiny", "LTX2_INLINE_BYTES": "1000"}
        with worker(double, folder, tiny, **given) as process:
            link = {"upload_url": f"{slow.url}/crash?sign=secret"}
            double.give("crash", {**CLIP, **link, "generation_id": "c"})
            assert clip_of(double.answer("crash"), slow.got["/crash"]) == 9
            assert list((folder / "scratch").iterdir()) == []
            double.give("large", {**CLIP, "generation_id": "l"})
            failed = double.answer("large")
            assert failed["error"].startswith("DELIVERY_FAILED: ")
            assert "BUCKET_ENDPOINT_URL" in failed["error"]
            link = {"upload_url": f"{slow.url}/clip?sign=secret"}
            double.give("stored", {**CLIP, **link, "generation_id": "l"})
            assert double.answer("stored")["output"]["video_url"] == f"{slow.url}/clip"
            assert process.said("finished already", "stored")
            assert "secret" not in process.log.read_text(errors="replace")


def test_a_machine_that_cannot_work_is_unhealthy_with_a_reason(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    scratch = str(tmp_path / "file" / "below")
    with platform() as double, worker(double, tmp_path, tiny, LTX2_SCRATCH=scratch) as process:
        assert process.process.wait(120) == 1
        unhealthy = [ping for ping in double.pings if "status=unhealthy" in ping]
        assert "check=folders_can_be_written" in unhealthy[0]
        assert "LTX2_SCRATCH" in unhealthy[0]


def test_settings_that_cannot_be_read_are_told_to_the_platform(tiny, tmp_path):
    with platform() as double, worker(double, tmp_path, tiny, LTX2_MODES="both") as process:
        assert process.process.wait(120) == 1
        unhealthy = [ping for ping in double.pings if "status=unhealthy" in ping]
        assert "LTX2_MODES" in unhealthy[0]


def test_faults_are_answered_without_their_words(tiny, tmp_path):
    script = Path(__file__).parent / "entries" / "faulty_handler.py"
    with platform() as double, worker(double, tmp_path, tiny, script=script) as process:
        for fault, error in (("bug", "INTERNAL: "), ("lost", "INTERNAL: the GPU does not answer")):
            double.give(fault, CLIP)
            answer = double.answer(fault)
            assert answer["error"].startswith(error)
            assert answer.get("stopPod", False) is (fault == "lost")
            assert "Traceback" not in str(answer)
            assert str(tmp_path) not in str(answer)
            assert process.process.poll() is None
