"""A worker of this machine: `ltx2 serve` as a child of this process, with a key of its own."""

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gateway.backends.runpod import RunPod
from gateway.ids import new_secret
from ltx2.errors import ConfigError
from ltx2.rest import Service, ServiceError
from ltx2.settings import process_environment

LOOK = 0.2  # seconds between two looks at a worker that loads its model
# The running job is given up, and taken again at the next start: nobody needs to wait for it.
LEAVE_SECONDS = 20.0
PATIENCE = 5.0  # seconds for a worker that does not answer to be gone, or to be just busy
EVERYTHING = 2**50  # bytes; the folder of finished clips is the gateway's own store
MOST_TOLD = 20_000  # last bytes of the log that are searched for a reason
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the worker has loaded."""

    checkpoint: str  # a name of the model table
    reason: str  # why these weights
    embedded: bool
    modes: str  # "fast", "pro" or "all"


class ServeChild:
    """`ltx2 serve` on a free loopback port. Finished clips go to `videos`; what it says, to `log`.

    Raises ConfigError, with the worker's own reason, where it does not come up.
    """

    def __init__(self, *, checkpoint: str | None, videos: Path, log: Path) -> None:
        self.log = log
        self._key = new_secret("local_")
        chosen = [] if checkpoint is None else ["--checkpoint", checkpoint]
        command = [sys.executable, "-m", "ltx2", "serve", "--port", "0", *chosen]
        with log.open("wb") as said:
            # A session of its own: Ctrl-C is for us, who then end it in order.
            self._process = subprocess.Popen(
                command,
                env=_environment(self._key, videos),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        try:
            assert self._process.stdout is not None
            self.url = self._process.stdout.readline().strip()
            if not self.url:
                raise self._gone()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The child's process."""
        return self._process.pid

    def backend(self) -> RunPod:
        """The worker as the gateway knows any."""
        return RunPod(self.url, self._key)

    def loaded(self, *, pause: Callable[[float], object] = time.sleep) -> Model:
        """Wait until the model is loaded, however long that takes. Raises ConfigError."""
        service = Service(self.url, self._key, name="the worker of this machine")
        try:
            job = None
            while True:
                if job is None:
                    asked = self._ask(service, "POST", "/run", {"input": {"action": "health"}})
                    job = asked.get("id")
                else:
                    status = self._ask(service, "GET", f"/status/{job}", None)
                    if status.get("status") == "COMPLETED":
                        return _model(status["output"])
                    if status.get("status") == "FAILED":
                        raise ConfigError(f"the worker did not start: {status.get('error')}")
                pause(LOOK)
        finally:
            service.close()

    def wait(self) -> int:
        """The exit code, when it has ended."""
        return self._process.wait()

    def why(self) -> str:
        """What the log gives as the reason of its end, or how it ended where it gives none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - MOST_TOLD))
                said = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            said = []
        errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        code = self._process.wait()
        how = f"signal {-code} ended it" if code < 0 else f"it ended with exit code {code}"
        return "; ".join(errors) or how

    def stop(self) -> None:
        """End it, in order where it lets itself be; doing it again does no harm."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(LEAVE_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(
        self, service: Service, method: str, path: str, body: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """An answer; an empty one while it is too busy to give any."""
        try:
            until = time.monotonic()
            return cast("Mapping[str, Any]", service.ask(method, path, body=body, until=until))
        except ServiceError as error:
            # Where it ends, it closes its connections first.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            if self._process.poll() is not None:
                raise self._gone() from error
            return {}

    def _gone(self) -> ConfigError:
        return ConfigError(f"the worker did not start: {self.why()} (its log is {self.log})")


def _environment(key: str, videos: Path) -> dict[str, str]:
    return {
        **process_environment(),
        "LTX2_SERVE_KEY": key,
        "LTX2_KEEP_FOLDER": str(videos),
        "LTX2_KEEP_BYTES": str(EVERYTHING),
    }


def _model(health: Mapping[str, Any]) -> Model:
    model = health["model"]
    return Model(
        checkpoint=str(model["checkpoint"]),
        reason=str(model["reason"]),
        embedded=bool(model["embedded"]),
        modes=str(health["modes"]),
    )


def _end_with_parent() -> None:
    """Have Linux end the child, should this process be killed without warning."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
