"""A RunPod endpoint on loopback that a test scripts: jobs, their ends, and everything that goes
wrong on the way. Its answers have the platform's shape; what it is asked is kept.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.media.videos import video
from tests.worker.loopback import Call, Loopback, Reply

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 25, 24


@cache
def clip() -> bytes:
    """A real MP4, small."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        video(path, count=FRAMES, width=WIDTH, height=HEIGHT)
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Film:
    """A video and its facts."""

    content: bytes
    width: int
    height: int
    frames: int
    fps: int


@dataclass(slots=True, kw_only=True)
class Job:
    """One job of the endpoint."""

    id: str
    input: dict[str, Any]
    webhook: str | None
    policy: dict[str, Any]
    status: str = "IN_QUEUE"
    output: Any = None
    error: str | None = None
    known: bool = True  # False: its time is over, /status answers 404
    cancels: int = 0
    looks: int = 0
    times: dict[str, int] = field(default_factory=dict)

    @property
    def generation_id(self) -> str:
        return self.input["generation_id"]

    @property
    def token(self) -> str:
        assert self.webhook is not None
        return self.webhook.rpartition("/")[2]

    def body(self) -> dict[str, Any]:
        """What /status and a webhook say."""
        body = {"id": self.id, "status": self.status, **self.times}
        if self.output is not None:
            body["output"] = self.output
        if self.error is not None:
            body["error"] = self.error
        if self.status != "IN_QUEUE":
            body["workerId"] = "worker-1"
        return body


class FakeRunPod(Loopback):
    """One endpoint with the key `key`. Jobs stay queued until the test says what becomes of them.

    `obeys` is whether /cancel stops a job; `automatic` lets each look at a job move it on, to the
    end after `automatic` looks. Every video is `film`.
    """

    def __init__(self, *, automatic: int | None = None, delivery: str = "url") -> None:
        self.key = "rpa_THEKEY0123456789"
        self.jobs: list[Job] = []
        self.obeys = True
        self.automatic = automatic
        self.delivery = delivery
        self.expired: set[str] = set()  # generations whose link is answered with 403
        self.held: dict[str, threading.Event] = {}  # generations whose job or link waits for it
        self.enhanced: str | None = None
        self.checkpoint, self.modes = "ltx-2.3", "all"  # that its workers have loaded
        self.film = Film(clip(), WIDTH, HEIGHT, FRAMES, FPS)
        super().__init__()

    @property
    def url(self) -> str:
        return f"{self.address}/v2/ep"

    def job(self, generation_id: str) -> Job:
        """The newest job of a generation."""
        return next(job for job in reversed(self.jobs) if job.generation_id == generation_id)

    def of(self, generation_id: str) -> list[Job]:
        """All jobs of a generation."""
        return [job for job in self.jobs if job.generation_id == generation_id]

    def run(self, job: Job, *, seq: int = 0, percent: float = 10.0, phase: str = "base") -> None:
        """The worker is at it, and reports."""
        job.status = "IN_PROGRESS"
        job.times = {"delayTime": 4100}
        job.output = {
            "seq": seq, "phase": phase, "step": 1 + seq, "steps": 8, "percent": percent,
            "eta": 30.0,
        }  # fmt: skip

    def complete(self, job: Job) -> None:
        """The video is made."""
        job.status = "COMPLETED"
        job.times = {"delayTime": 4100, "executionTime": 52300}
        job.output = self.result(job)

    def fail(self, job: Job, error: str) -> None:
        """The job ends with an error."""
        job.status, job.output, job.error = "FAILED", None, error
        job.times = {"delayTime": 4100, "executionTime": 9000}

    def result(self, job: Job) -> dict[str, Any]:
        """What the worker answers for a job."""
        film, asked = self.film, job.input
        content = film.content
        where: dict[str, Any] = {"video_url": f"{self.address}/files/{job.generation_id}.mp4"}
        if self.delivery == "base64":
            import base64

            where = {"video": base64.b64encode(content).decode()}
        return {
            **where, "content_type": "video/mp4", "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(), "width": film.width,
            "height": film.height, "fps": film.fps, "num_frames": film.frames,
            "duration": film.frames / film.fps, "has_audio": True,
            "audio_sample_rate": 48000, "seed": asked["seed"], "prompt": asked["prompt"],
            "mode": asked["mode"], "checkpoint": self.checkpoint,
            "warnings": [], "snaps": [], "loras": [],
            "generation_id": job.generation_id,
        }  # fmt: skip

    def answer(self, call: Call) -> Reply:
        if call.path.startswith("/files/"):
            name = call.path.removeprefix("/files/").removesuffix(".mp4")
            self._wait(name)
            return Reply(status=403) if name in self.expired else Reply(body=self.film.content)
        if call.headers.get("Authorization") != f"Bearer {self.key}":
            return Reply(status=401, body={"error": "unauthorized"})
        match call.path.removeprefix("/v2/ep").strip("/").split("/"):
            case ["run"]:
                return self._take(call)
            case ["runsync"]:
                return self._at_once(call)
            case ["status", job_id]:
                return self._look(job_id)
            case ["cancel", job_id]:
                return self._cancel(job_id)
            case ["health"]:
                return Reply(body={"jobs": {}, "workers": {"idle": 1, "running": 0}})
            case _:
                return Reply(status=404, body={"error": "no such operation"})

    def _take(self, call: Call) -> Reply:
        body = call.body
        job = Job(
            id=f"job-{len(self.jobs) + 1}-u1",
            input=body["input"],
            webhook=body.get("webhook"),
            policy=body["policy"],
        )
        self.jobs.append(job)
        self._wait(job.generation_id)
        return Reply(body={"id": job.id, "status": "IN_QUEUE"})

    def _wait(self, generation_id: str) -> None:
        if (gate := self.held.get(generation_id)) is not None:
            gate.wait(30)

    def _find(self, job_id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == job_id and job.known), None)

    def _look(self, job_id: str) -> Reply:
        job = self._find(job_id)
        if job is None:
            return Reply(status=404, body={"error": "job not found"})
        job.looks += 1
        if self.automatic is not None and job.status not in ENDED:
            if job.looks > self.automatic:
                self.complete(job)
            elif job.looks > 1:
                self.run(job, seq=job.looks, percent=100 * job.looks / (self.automatic + 1))
        return Reply(body=job.body())

    def _cancel(self, job_id: str) -> Reply:
        job = self._find(job_id)
        if job is None:
            return Reply(status=404, body={"error": "job not found"})
        job.cancels += 1
        if self.obeys and job.status not in ENDED:
            job.status, job.output = "CANCELLED", None
        return Reply(body={"id": job.id, "status": job.status})

    def _at_once(self, call: Call) -> Reply:
        given = call.body["input"]
        if given["action"] == "health":
            embedded = self.checkpoint == "tiny"
            model = {"checkpoint": self.checkpoint, "embedded": embedded}
            output = {"status": "ready", "model": model, "modes": self.modes}
            return Reply(body={"id": "sync-1", "status": "COMPLETED", "output": output})
        if self.enhanced is None:
            body = {"id": "sync-1", "status": "FAILED", "error": "BAD_REQUEST: no such action"}
        else:
            text = self.enhanced.format(prompt=given["prompt"])
            body = {"id": "sync-1", "status": "COMPLETED", "output": {"prompt": text}}
        return Reply(body=body)


def hint(job: Job) -> bytes:
    """The body of a webhook."""
    return json.dumps(job.body()).encode()
