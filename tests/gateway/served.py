"""A real `ltx2 gateway serve` in a process of its own, over a RunPod or what speaks as one."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from tests.gateway.fake_runpod import Job, hint
from tests.gateway.house import PUBLIC

ROOT = Path(__file__).resolve().parents[2]


class Endpoint(Protocol):
    """Who makes the videos."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    key: str


class Served:
    """The process, and a client of the account whose key it is given.

    `variables` are set beside its usual settings.
    """

    def __init__(
        self, folder: Path, database_url: str, runpod: Endpoint, key: str, **variables: str
    ) -> None:
        self._said = (folder / "said.txt").open("a+")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LTX2_GATEWAY_FOLDER": str(folder),
            "LTX2_GATEWAY_DATABASE": database_url,
            "LTX2_GATEWAY_WORKER": runpod.url,
            "LTX2_SERVE_KEY": runpod.key,
            "LTX2_GATEWAY_MODES": "all",
            "LTX2_GATEWAY_PUBLIC_URL": PUBLIC,
            "LTX2_GATEWAY_POLL_SECONDS": "0.1",
            "LTX2_GATEWAY_PRIVATE_WEBHOOKS": "1",
            **variables,
        }
        self.process = subprocess.Popen(
            self.command("serve", "--port", "0"),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        assert address, self.said()
        self.client = httpx.Client(
            base_url=address,
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Of the operator's, on the same settings."""
        return [sys.executable, "-m", "ltx2", "gateway", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command beside the server."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self) -> str:
        """What it told people and its log."""
        return os.pread(self._said.fileno(), 1_000_000, 0).decode()

    def children(self) -> list[psutil.Process]:
        """The processes that it started."""
        return psutil.Process(self.process.pid).children()

    def see(self, name: str) -> dict:
        """A generation, as the API answers it."""
        answer = self.client.get(f"/api/generations/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def hint(self, job: Job) -> None:
        """RunPod's webhook for a job, over the network."""
        answer = self.client.post(f"/webhooks/runpod/{job.token}", content=hint(job))
        assert answer.is_success, answer.text

    def kill(self) -> None:
        """End it and those it started by the signal that no process can catch."""
        os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.wait(60) == -9
        self.close()

    def close(self) -> None:
        """Leave nothing running."""
        with suppress(AttributeError):  # it never came to a client
            self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._said.close()
