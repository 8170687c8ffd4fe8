"""What a worker's environment sets beside the engine's settings. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from ltx2 import setting_rows
from ltx2.setting_rows import choice, flag, folder, folders, row, seconds, whole
from ltx2.settings import Settings, process_environment

Modes = Literal["fast", "pro", "all"]
Addressing = Literal["auto", "path", "virtual"]
LogLevel = Literal["debug", "info", "warning", "error"]

WEEK = 7 * 24 * 3600  # seconds: the longest that a signed link of S3 can live


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How this worker takes jobs and hands over what it made."""

    modes: Modes = row(
        "LTX2_MODES",
        choice(Modes),
        "The modes whose weights a worker must have, and loads, before it takes a job.",
        default="fast",
    )
    download: bool | None = row(
        "LTX2_DOWNLOAD",
        flag,
        "1 lets a worker fetch weights that lie nowhere on it, before it takes a job; 0 refuses "
        "to start without them.",
        shown="1 on RunPod, else 0",
    )
    warm_up: bool = row(
        "LTX2_WARM_UP",
        flag,
        "1 makes one small clip before the first job is taken.",
        default=False,
    )
    input_folders: tuple[Path, ...] = row(
        "LTX2_INPUT_FOLDERS",
        folders,
        "Folders, separated by `:`, in which a job may name pictures and LoRAs by path.",
        default=(Path("/runpod-volume/inputs"), Path("/runpod-volume/loras")),
        shown="`/runpod-volume/inputs:/runpod-volume/loras`",
    )
    inline_bytes: int = row(
        "LTX2_INLINE_BYTES",
        whole(0, 14 * 2**20),  # what base64 makes 20 MB of, the most that the platform takes
        "Bytes of an MP4 that is answered as base64; what is larger needs a store. RunPod drops "
        "answers above 10 MB of `/run`, 20 MB of `/runsync`, and base64 adds a third.",
        default=7 * 2**20,
    )
    execution_seconds: float = row(
        "LTX2_EXECUTION_SECONDS",
        seconds(5, 7 * 86_400),
        "Seconds that the endpoint gives a job, where the job's own policy does not say.",
        default=600.0,
    )
    stop_seconds: float = row(
        "LTX2_STOP_SECONDS",
        seconds(1, 3600),
        "Seconds after which a cancelled job that does not stop ends the process.",
        default=120.0,
    )
    keep_folder: Path | None = row(
        "LTX2_KEEP_FOLDER",
        folder,
        "Folder of the last finished clips, from which a repeated `generation_id` is answered.",
        shown="`results` in `LTX2_CACHE`",
    )
    keep_bytes: int = row(
        "LTX2_KEEP_BYTES",
        whole(0, 2**50),
        "Bytes of finished clips that are kept there; the oldest go first, 0 keeps none.",
        default=2 * 2**30,
    )
    scratch: Path | None = row(
        "LTX2_SCRATCH",
        folder,
        "Folder in which a clip is written before it is delivered.",
        shown="the system's temporary folder",
    )
    log_level: LogLevel = row(
        "LTX2_LOG_LEVEL", choice(LogLevel), "What a worker logs at least.", default="info"
    )
    log_prompts: bool = row(
        "LTX2_LOG_PROMPTS", flag, "1 writes prompts into the worker's log.", default=False
    )
    serve_key: str | None = row(
        "LTX2_SERVE_KEY",
        str,
        "Key that callers of `ltx2 serve` must send; without one it answers to loopback only.",
        secret=True,
    )
    bucket_endpoint: str | None = row(
        "BUCKET_ENDPOINT_URL", str, "Address of the S3 store that finished clips go to."
    )
    bucket_access_key: str | None = row("BUCKET_ACCESS_KEY_ID", str, "Its access key.", secret=True)
    bucket_secret_key: str | None = row(
        "BUCKET_SECRET_ACCESS_KEY", str, "Its secret key.", secret=True
    )
    bucket: str | None = row(
        "BUCKET_NAME", str, "The bucket.", shown="the one in `BUCKET_ENDPOINT_URL`"
    )
    bucket_region: str | None = row(
        "BUCKET_REGION", str, "Its region.", shown="the one in `BUCKET_ENDPOINT_URL`"
    )
    bucket_prefix: str = row(
        "BUCKET_PREFIX",
        str,
        "What the keys of all objects begin with.",
        default="",
        shown="nothing",
    )
    bucket_addressing: Addressing = row(
        "BUCKET_ADDRESSING",
        choice(Addressing),
        "Whether the bucket is named in the path or in the host of an address.",
        default="auto",
    )
    bucket_public_url: str | None = row(
        "BUCKET_PUBLIC_URL",
        str,
        "Address under which everyone may read the bucket's objects; links are then not signed.",
    )
    bucket_link_seconds: int = row(
        "BUCKET_LINK_SECONDS",
        whole(60, WEEK),
        "Seconds for which a signed link is good.",
        default=WEEK,
    )
    post_output_url: str | None = row(
        "RUNPOD_WEBHOOK_POST_OUTPUT",
        str,
        "Set by RunPod: where results and progress are posted. Progress is sent only where it is.",
        secret=True,
    )
    pod_id: str | None = row("RUNPOD_POD_ID", str, "Set by RunPod: this worker, for its log.")
    endpoint_id: str | None = row(
        "RUNPOD_ENDPOINT_ID", str, "Set by RunPod: the worker's endpoint, for its log."
    )
    api_key: str | None = row(
        "RUNPOD_API_KEY",
        str,
        "Key of a RunPod account, for `ltx2 deploy` and `ltx2.client`; a worker needs none.",
        secret=True,
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this worker. An empty variable counts as not set.

        Raises ConfigError with a sentence for each variable that cannot be read.
        """
        environ = process_environment() if environ is None else environ
        return cls(**setting_rows.read_whole(cls, environ))

    def kept_in(self, settings: Settings) -> Path:
        """The folder of finished clips."""
        return self.keep_folder or settings.cache / "results"

    @property
    def on_platform(self) -> bool:
        """Whether RunPod runs this worker."""
        return self.post_output_url is not None

    @property
    def fetches(self) -> bool:
        """Whether missing weights are fetched."""
        return self.on_platform if self.download is None else self.download

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """The settings in effect by variable, for people: secrets are masked."""
        return setting_rows.shown(self)
