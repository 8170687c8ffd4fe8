"""What a gateway's environment sets. Limits, keys and store are those of the worker's rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from ltx2 import setting_rows
from ltx2.errors import ConfigError
from ltx2.setting_rows import choice, flag, folder, row, seconds, whole
from ltx2.settings import process_environment

Store = Literal["folder", "s3"]
Modes = Literal["fast", "pro", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How this gateway keeps its data, reaches its worker and is reached."""

    folder: Path = row(
        "LTX2_GATEWAY_FOLDER",
        folder,
        "Folder of the gateway's data: the SQLite database and, without S3, the videos.",
        default=Path("ltx2-gateway"),
    )
    database: str | None = row(
        "LTX2_GATEWAY_DATABASE",
        str,
        "`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`. A second gateway process "
        "needs PostgreSQL.",
        shown="`gateway.db` in `LTX2_GATEWAY_FOLDER`",
        secret=True,
    )
    store: Store = row(
        "LTX2_GATEWAY_STORE",
        choice(Store),
        "Where videos lie: `folder`, or `s3` for the bucket of `BUCKET_…`, which must be the "
        "worker's own.",
        default="folder",
    )
    worker: str | None = row(
        "LTX2_GATEWAY_WORKER",
        str,
        "Who makes the videos: the id of a RunPod endpoint, which needs `RUNPOD_API_KEY`, or the "
        "address of `ltx2 serve`, with `LTX2_SERVE_KEY` where it asks for one.",
    )
    checkpoint: str = row(
        "LTX2_GATEWAY_CHECKPOINT", str, "The model that this worker runs.", default="ltx-2.3"
    )
    modes: Modes = row(
        "LTX2_GATEWAY_MODES", choice(Modes), "The modes that this worker loaded.", default="fast"
    )
    public_url: str | None = row(
        "LTX2_GATEWAY_PUBLIC_URL",
        str,
        "https address under which everyone reaches this gateway. The worker's platform sends its "
        "webhooks there; without it, jobs are only looked at now and then.",
    )
    fast_seconds: int = row(
        "LTX2_GATEWAY_FAST_SECONDS",
        whole(5, 604_800),
        "Seconds that a `fast` job may run.",
        default=600,
    )
    pro_seconds: int = row(
        "LTX2_GATEWAY_PRO_SECONDS",
        whole(5, 604_800),
        "Seconds that a `pro` job may run.",
        default=1800,
    )
    ttl_seconds: int = row(
        "LTX2_GATEWAY_TTL_SECONDS",
        whole(10, 604_800),
        "Seconds from a job's submission to its end, waiting included; then its credits go back.",
        default=7200,
    )
    poll_seconds: float = row(
        "LTX2_GATEWAY_POLL_SECONDS",
        seconds(0.1, 60),
        "Seconds between two looks at a running job.",
        default=3.0,
    )
    queue: int = row(
        "LTX2_GATEWAY_QUEUE",
        whole(1, 10_000),
        "Generations that an account may have queued or running at once.",
        default=20,
    )
    calls_per_minute: int = row(
        "LTX2_GATEWAY_CALLS_PER_MINUTE",
        whole(1, 1_000_000),
        "Calls that an account may make in a minute.",
        default=600,
    )
    private_webhooks: bool = row(
        "LTX2_GATEWAY_PRIVATE_WEBHOOKS",
        flag,
        "1 lets webhooks of accounts lead to private and loopback addresses: development only.",
        default=False,
    )
    metrics_key: str | None = row(
        "LTX2_GATEWAY_METRICS_KEY",
        str,
        "What Prometheus sends as its bearer; without it `/metrics` is for this machine only.",
        secret=True,
    )

    def __post_init__(self) -> None:
        """Fill what depends on the folder. Raises ConfigError for what contradicts itself."""
        if self.database is None:
            file = (self.folder / "gateway.db").absolute()
            object.__setattr__(self, "database", f"sqlite:///{file}")
        problems: list[str] = []
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
                problems.append("LTX2_GATEWAY_PUBLIC_URL must be an https address without ? and #")
        worker = self.worker
        if worker is not None and not re.fullmatch(r"[A-Za-z0-9_-]+|https?://\S+", worker):
            problems.append(
                "LTX2_GATEWAY_WORKER must be the id of a RunPod endpoint or an http(s) address"
            )
        longest = max(self.fast_seconds, self.pro_seconds)
        if self.ttl_seconds < longest:
            problems.append(
                f"LTX2_GATEWAY_TTL_SECONDS must be at least the {longest} s that a job may run"
            )
        if problems:
            raise ConfigError("; ".join(problems))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this gateway. An empty variable counts as not set.

        Raises ConfigError with a sentence for each variable that cannot be read.
        """
        environ = process_environment() if environ is None else environ
        return cls(**setting_rows.read_whole(cls, environ))

    @property
    def loaded_modes(self) -> tuple[Literal["fast", "pro"], ...]:
        """The modes, one by one."""
        return ("fast", "pro") if self.modes == "all" else (self.modes,)

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """The settings in effect by variable, for people: secrets are masked."""
        return setting_rows.shown(self)
