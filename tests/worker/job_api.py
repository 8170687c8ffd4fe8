"""A double of RunPod's public job API: jobs that go through the states a test scripts."""

import re
import time
from dataclasses import dataclass, field
from typing import Any

from tests.worker.loopback import Call, Loopback, Reply


def progress(seq: int, percent: float = 0.0) -> dict[str, Any]:
    """One message of the worker about its progress."""
    return {"seq": seq, "phase": "base", "step": seq, "steps": 8, "percent": percent, "eta": 1.0}


@dataclass(slots=True, kw_only=True)
class ScriptedJob:
    """A job whose status is the next of `script` at each look; the last one stays."""

    id: str
    body: dict[str, Any]
    script: list[dict[str, Any]]
    looks: int = 0
    cancelled: bool = False
    cancels: int = 0
    gone_at: float = float("inf")  # on the monotonic clock
    extra: dict[str, Any] = field(default_factory=dict)

    def status(self) -> dict[str, Any]:
        if self.cancelled:
            return {"id": self.id, "status": "CANCELLED"}
        step = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        return {"id": self.id, **step}


class JobApi(Loopback):
    """An endpoint `ep` under `/v2/ep`; the next job submitted follows `script`."""

    def __init__(self, key: str | None = "rpa_JOBKEY0123456789") -> None:
        self.key = key
        self.jobs: dict[str, ScriptedJob] = {}
        self.script: list[dict[str, Any]] = [{"status": "IN_QUEUE"}]
        self.ttl = float("inf")  # seconds until a job is forgotten
        self.files: dict[str, Reply] = {}  # what a store holds, by path
        super().__init__()

    @property
    def url(self) -> str:
        return f"{self.address}/v2/ep"

    def answer(self, call: Call) -> Reply:
        if call.path in self.files:
            return self.files[call.path]
        if self.key and call.headers.get("Authorization") != f"Bearer {self.key}":
            return Reply(status=401, body={"error": "unauthorized"})
        if call.path == "/v2/ep/health":
            jobs = {"completed": 1, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0}
            return Reply(body={"jobs": jobs, "workers": {"idle": 1, "running": 0}})
        if call.path == "/v2/ep/run" and call.method == "POST":
            return self._run(call)
        found = re.fullmatch(r"/v2/ep/(status|cancel)/([\w.-]+)", call.path)
        if not found or call.method != {"status": "GET", "cancel": "POST"}[found[1]]:
            return Reply(status=404, body={"error": "no such path"})
        job = self.jobs.get(found[2])
        if job is None or time.monotonic() >= job.gone_at:
            return Reply(status=404, body={"error": "job not found"})
        if found[1] == "cancel":
            job.cancels += 1
            job.cancelled = True
        return Reply(body=job.status())

    def _run(self, call: Call) -> Reply:
        if call.headers.get("Content-Type") != "application/json":
            return Reply(status=415, body={"error": "JSON is wanted"})
        name = f"job-{len(self.jobs) + 1}"
        self.jobs[name] = ScriptedJob(
            id=name,
            body=call.body,
            script=list(self.script),
            gone_at=time.monotonic() + self.ttl,
        )
        return Reply(body={"id": name, "status": "IN_QUEUE"})
