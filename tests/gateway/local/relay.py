"""A real `ltx2 serve`, and the line between it and a gateway: its webhooks are lost or doubled."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.worker.loopback import Call, Loopback, Reply

KEY = "the-worker-s-own-key"
JOBS, HOOKS = "/v2/local", "/webhooks/runpod/"


class Worker:
    """The process; it loads while it answers."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._said = (folder / "worker.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ltx2", "serve", "--port", "0", "--checkpoint", "tiny"],
            cwd=folder,
            env={
                **variables,
                "LTX2_SERVE_KEY": KEY,
                "LTX2_KEEP_FOLDER": str(folder / "kept"),  # the cache is the checkout's
            },
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def close(self) -> None:
        """Leave nothing running."""
        self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._said.close()


class Relay(Loopback):
    """Hands calls to the worker and its webhooks to the gateway, `hooks` times each.

    The gateway names its public address, which only this relay reaches.
    """

    def __init__(self, worker_url: str) -> None:
        self.key = KEY
        self.hooks = 1
        self.gateway: str | None = None  # its address, once it has one
        self.runs: list[tuple[str, str]] = []  # a generation and its job, in order
        self.told: list[int] = []  # how the gateway answered to webhooks
        self._worker = worker_url.removesuffix(JOBS)
        self._client = httpx.Client(timeout=60, trust_env=False)
        super().__init__()

    @property
    def url(self) -> str:
        return f"{self.address}{JOBS}"

    def jobs(self, generation_id: str) -> list[str]:
        """The jobs of a generation."""
        return [job for name, job in self.runs if name == generation_id]

    def status(self, job: str) -> str:
        """What the worker says of a job."""
        url = f"{self._worker}{JOBS}/status/{job}"
        return self._client.get(url, headers={"Authorization": f"Bearer {KEY}"}).json()["status"]

    def answer(self, call: Call) -> Reply:
        return self._hook(call) if call.path.startswith(HOOKS) else self._call(call)

    def _hook(self, call: Call) -> Reply:
        for _ in range(self.hooks):
            answer = self._client.post(f"{self.gateway}{call.path}", content=call.text)
            self.told.append(answer.status_code)
        return Reply(body={})

    def _call(self, call: Call) -> Reply:
        body: Any = call.body
        if isinstance(body, dict) and body.get("webhook"):
            body = {**body, "webhook": self.address + urlsplit(body["webhook"]).path}
        answer = self._client.request(
            call.method,
            self._worker + call.path,
            headers={"Authorization": call.headers.get("Authorization", "")},
            json=body,
        )
        said = answer.json()
        if call.path == f"{JOBS}/run":
            self.runs.append((body["input"].get("generation_id"), said.get("id")))
        return Reply(status=answer.status_code, body=said)

    def close(self) -> None:
        super().close()
        self._client.close()
