"""The platform's numbers: how long a job may wait, run and be kept, and how large it may be."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["run", "runsync"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Seconds and bytes of RunPod's job API."""

    execution_seconds: float = 600.0  # of a job whose policy does not say
    ttl_seconds: float = 86_400.0  # from its submission, the same
    run_kept: float = 30 * 60.0  # seconds for which a result can be asked for
    runsync_kept: float = 60.0
    run_bytes: int = 10_000_000  # of a request, and of a result
    runsync_bytes: int = 20_000_000
    wait_seconds: float = 90.0  # that /runsync waits
    queued: int = 500  # jobs for one worker; the platform answers 429 to the next
    webhook_tries: int = 3
    webhook_pause: float = 10.0  # seconds between two of them
    webhook_seconds: float = 10.0  # for each

    def size(self, kind: Kind) -> int:
        """Bytes of a request, and of a result as JSON."""
        return self.run_bytes if kind == "run" else self.runsync_bytes

    def kept(self, kind: Kind) -> float:
        """Seconds from a job's end to its being forgotten."""
        return self.run_kept if kind == "run" else self.runsync_kept
