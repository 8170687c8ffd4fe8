"""A real `ltx2 studio` in a process of its own, and a browser without script that uses its API."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300  # seconds: on a busy machine the model loads slowly


def environment(home: Path, tiny: Path) -> dict[str, str]:
    """That of a user who has the embedded checkpoint built and nothing else."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LTX2_CACHE": str(tiny.parent),
        "LTX2_DOWNLOAD": "0",
    }


class Studio:
    """The process, and who visits it."""

    def __init__(self, folder: Path, variables: dict[str, str], *options: str) -> None:
        self._said = (folder / "said.txt").open("w+")
        command = [sys.executable, "-m", "ltx2", "studio", "--port", "0", *options]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.visitor = httpx.Client(base_url=self.url, timeout=30, follow_redirects=True)
        if self.url:
            page = self.visitor.get("/").raise_for_status().text
            found = re.search(r'data-csrf="([^"]+)"', page)
            assert found is not None
            self.visitor.headers["x-csrf-token"] = found[1]

    def said(self) -> str:
        """What it told people."""
        return os.pread(self._said.fileno(), 1_000_000, 0).decode()

    def worker(self) -> int:
        """Its child's process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        (child,) = children.split()
        return int(child)

    def create(self, **form: object) -> str:
        """A generation's id."""
        answer = self.visitor.post("/api/generations", json=form)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def until(self, generation_id: str, *statuses: str) -> dict:
        """The generation when it stands so."""
        end = time.monotonic() + PATIENCE
        while True:
            body = self.visitor.get(f"/api/generations/{generation_id}").raise_for_status().json()
            if body["status"] in statuses:
                return body
            assert time.monotonic() < end, (body, self.said())
            time.sleep(0.1)

    def credits(self) -> dict:
        return self.visitor.get("/api/credits").raise_for_status().json()

    def stop(self, kind: int = signal.SIGTERM) -> int:
        """End it; the exit code."""
        self.visitor.close()
        self.process.send_signal(kind)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.close()

    def close(self) -> None:
        """Leave nothing running."""
        self.visitor.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._said.close()


def gone(pid: int) -> bool:
    """Whether a process ends soon."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
