"""A double of the platform's job-taking API on 127.0.0.1, and a worker process that talks to it.

The real SDK runs in the process; everything it asks for and posts is logged with its time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
HOLD = 0.4  # seconds that a poll is held; an answer at once would be asked for thousands of times
PATIENCE = 120.0  # seconds that a test waits for anything
PACED = Path(__file__).parent / "entries" / "paced_handler.py"
OWN = ("LTX2_", "BUCKET_", "RUNPOD_")  # what a worker's variables begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What the worker posted for a job."""

    job: str
    body: Any
    status: int  # that it was answered with
    at: float

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """The progress it tells of; None for an answer."""
        return self.body["output"] if self.body.get("status") == "IN_PROGRESS" else None


@dataclass(slots=True)
class Platform:
    """Gives out jobs, passes on stops and takes answers.

    `refuse` says how an answer is answered: by the job, its body and how often it came before.
    `slow` is the seconds that a progress message takes.
    """

    refuse: Callable[[str, Any, int], int] = lambda job, body, before: 200
    slow: float = 0.0
    posts: list[Post] = field(default_factory=list)
    taken: dict[str, float] = field(default_factory=dict)
    pings: list[str] = field(default_factory=list)
    _jobs: deque[dict[str, Any]] = field(default_factory=deque)
    _stops: deque[str] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def give(self, job: str, given: Mapping[str, Any], **beside: Any) -> None:
        """Queue a job."""
        with self._changed:
            self._jobs.append({"id": job, "input": dict(given), **beside})
            self._changed.notify_all()

    def stop(self, job: str) -> None:
        """Tell the worker to stop a job."""
        with self._changed:
            self._stops.append(job)
            self._changed.notify_all()

    def answers(self, job: str) -> list[Post]:
        """What was posted as a job's answer, each attempt."""
        return [post for post in list(self.posts) if post.job == job and post.progress is None]

    def progress(self, job: str) -> list[Post]:
        """What was posted of a job's progress."""
        return [post for post in list(self.posts) if post.job == job and post.progress is not None]

    def wait(self, what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """The first thing that `what` gives that is true."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        return found

    def answer(self, job: str, seconds: float = PATIENCE) -> Any:
        """The answer of a job, once it was posted and taken."""
        taken = self.wait(lambda: [p for p in self.answers(job) if p.status == 200], seconds)
        return taken[0].body

    # What the server calls.

    def take(self) -> dict[str, Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs, HOLD)
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            self.taken[job["id"]] = time.monotonic()
            return job

    def next_stop(self) -> str:
        """A job to stop; after at most HOLD seconds one that no worker has. Where there is none the
        SDK waits a second before it asks again, in which a stop would miss its moment.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stops, HOLD)
            return self._stops.popleft() if self._stops else "nobody's"

    def posted(self, job: str, body: Any) -> int:
        at = time.monotonic()
        if body.get("status") == "IN_PROGRESS":
            time.sleep(self.slow)
            status = 200
        else:
            status = self.refuse(job, body, len(self.answers(job)))
        self.posts.append(Post(job=job, body=body, status=status, at=at))
        return status


@contextmanager
def platform(**options: Any) -> Iterator[Platform]:
    """A platform that listens."""
    double = Platform(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            kind = parts.path.split("/")[3 if parts.path.startswith("/v2/") else 1]
            if kind == "job-take":
                self.reply(double.take())
            elif kind == "job-stop":
                self.reply({"jobsToStop": [double.next_stop()]})
            else:
                double.pings.append(parts.query)
                self.reply({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            job = urlsplit(self.path).path.rsplit("/", 1)[1]
            status = double.posted(job, json.loads(text))
            self.reply({}, status)

        def reply(self, body: Any, status: int = 200) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(204 if body is None else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The posts are the log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A worker that is killed leaves its line in the middle."""

    server = Server(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


@dataclass(slots=True)
class WorkerProcess:
    """`handler.py` in a process of its own."""

    process: "subprocess.Popen[bytes]"
    log: Path
    pace: Path  # where PACED looks

    def slow_down(self, seconds: float) -> None:
        """Let each step of the transformer take that much longer, where the script is PACED."""
        new = self.pace.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.pace)  # at once, since the worker may be reading

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        """Everything that was printed, by the SDK as well."""
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Its own log, without what the SDK prints."""
        return [
            json.loads(line) for line in self.text().splitlines() if line.startswith('{"requestId"')
        ]

    def said(self, part: str, job: str | None = None) -> bool:
        """Whether a line of the log has some words, of a job."""
        return any(
            part in line["message"] and job in (None, line["requestId"]) for line in self.lines()
        )

    def memory(self) -> int:
        """Bytes of memory that it holds."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(next(s for s in status.splitlines() if s.startswith("VmRSS")).split()[1])

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def end(self, kind: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(kind)
        return self.process.wait(seconds)


@contextmanager
def worker(
    double: Platform,
    folder: Path,
    weights: Path,
    *,
    script: Path = ROOT / "handler.py",
    **environ: str,
) -> Iterator[WorkerProcess]:
    """A worker with these weights that takes the platform's jobs. `folder` is its home, scratch
    and cache.
    """
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    base = f"{double.url}/v2/ep"
    log = folder / f"worker-{time.monotonic_ns()}.log"
    pace = log.with_suffix(".pace")
    pace.write_text("0")
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith(OWN)},
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=X",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/pod1/$ID?gpu=X",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/pod1/$ID?gpu=X",
        "RUNPOD_WEBHOOK_PING": f"{double.url}/ping/pod1",
        "RUNPOD_POD_ID": "pod1",
        "RUNPOD_AI_API_KEY": "k",
        "RUNPOD_PING_INTERVAL": "4000",
        "RUNPOD_LOG_LEVEL": "INFO",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "PACE": str(pace),
        "LTX2_CHECKPOINT": str(weights),
        "LTX2_DEVICE": "cpu",
        "LTX2_SCRATCH": str(folder / "scratch"),
        "LTX2_CACHE": str(folder / "cache"),
        "LTX2_ALLOW_PRIVATE_URLS": "1",
        **environ,
    }  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env=settings,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # the SDK's heartbeat is a process of its own
        )
    try:
        yield WorkerProcess(process, log, pace)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
