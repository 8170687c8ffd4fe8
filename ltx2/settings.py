"""The settings: the only reader of the environment. docs/configuration.md lists them all."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

from ltx2 import setting_rows
from ltx2.errors import BadRequest, ConfigError
from ltx2.setting_rows import choice, device, flag, folder, number, row, seconds, whole

if TYPE_CHECKING:
    from ltx2.extent import Limits
    from ltx2.lora_sources import LoraSources
    from ltx2.media.fetch import MediaLimits
    from pipelines.speed.levers import Levers

Dtype = Literal["float32", "bfloat16"]
Residency = Literal["resident", "staged", "freed", "offload", "stream"]
Quantisation = Literal["none", "fp8", "int8"]
Attention = Literal["auto", "default", "cudnn", "flash", "efficient", "math"]
Blocks = Literal["auto", "stock", "plain", "triton", "compiled"]
Layout = Literal["auto", "contiguous", "channels_last"]
Freed = Literal["auto", "kept", "returned"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process runs. None where nothing was set and the machine decides."""

    checkpoint: str = row(
        "LTX2_CHECKPOINT",
        str,
        "Which weights: a name, a folder, a file, a repository, or `auto`.",
        default="auto",
    )
    weights: Path | None = row("LTX2_WEIGHTS", folder, "Folder with weights, looked in first.")
    runpod_cache: Path | None = row(
        "LTX2_RUNPOD_CACHE",
        folder,
        "RunPod's cached-model folder, laid out as a hub cache.",
        default=Path("/runpod-volume/huggingface-cache/hub"),
    )
    baked_weights: Path | None = row(
        "LTX2_BAKED_WEIGHTS",
        folder,
        "Folder of weights that were baked into an image.",
        default=Path("/models"),
    )
    volume_weights: Path | None = row(
        "LTX2_VOLUME_WEIGHTS",
        folder,
        "Folder of weights on a network volume.",
        default=Path("/runpod-volume/models"),
    )
    cache: Path = row(
        "LTX2_CACHE",
        folder,
        "Folder for LoRAs that are fetched from an address, and for a worker's finished clips.",
        shown="`$XDG_CACHE_HOME/ltx2`, else `~/.cache/ltx2`",
    )
    hf_home: Path = row(
        "HF_HOME",
        folder,
        "Folder of the Hugging Face libraries.",
        shown="`$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`",
    )
    hub_cache: Path = row(
        "HF_HUB_CACHE", folder, "The hub's cache of repositories.", shown="`$HF_HOME/hub`"
    )
    hf_token: str | None = row(
        "HF_TOKEN", str, "Token for gated and private repositories.", secret=True
    )
    hf_endpoint: str | None = row(
        "HF_ENDPOINT", str, "Address of the hub.", shown="the library's own"
    )
    hf_offline: bool = row(
        "HF_HUB_OFFLINE", flag, "1 keeps the hub's library off the network.", default=False
    )
    device: str | None = row(
        "LTX2_DEVICE", device, "Where the model runs.", shown="cuda where there is one, else cpu"
    )
    dtype: Dtype | None = row(
        "LTX2_DTYPE",
        choice(Dtype),
        "Type of the weights; the sound is always decoded in float32.",
        shown="bfloat16 on a GPU, float32 on a CPU",
    )
    residency: Residency | None = row(
        "LTX2_RESIDENCY",
        choice(Residency),
        "`resident` keeps every part on the device; `staged` keeps the text encoder in host memory "
        "and moves it there for the prompt; `freed` loads it for each new prompt and drops it; "
        "`offload` moves one part there at a time; `stream` does so block by block.",
        shown="the fastest that fits, for each clip",
    )
    device_memory: float | None = row(
        "LTX2_DEVICE_MEMORY_GIB",
        number(0.01, 4096, "GiB"),
        "Most GiB of the GPU that a clip may be planned to take.",
        shown="what is free on it",
    )
    transformer_quantisation: Quantisation = row(
        "LTX2_TRANSFORMER_QUANTISATION",
        choice(Quantisation),
        "`fp8` or `int8` rounds the transformer's large layers to a byte a weight as they are "
        "read: half of bfloat16's memory, and another clip than the exact one. Not for a GGUF "
        "file, which is rounded already.",
        default="none",
    )
    text_encoder_quantisation: Quantisation = row(
        "LTX2_TEXT_ENCODER_QUANTISATION",
        choice(Quantisation),
        "The same for the text encoder's layers.",
        default="none",
    )
    attention: Attention = row(
        "LTX2_ATTENTION",
        choice(Attention),
        "Attention kernel that is tried first: `cudnn`, `flash`, `efficient` or `math`; `default` "
        "leaves the order to torch, `auto` is `cudnn` on Hopper and datacenter Blackwell from "
        "cuDNN 9.15.1 on, which is torch's own order there too, and else `default`.",
        default="auto",
    )
    blocks: Blocks = row(
        "LTX2_BLOCKS",
        choice(Blocks),
        "Who computes a transformer block: `triton`, fused kernels; `plain`, torch's own; "
        "`compiled`, by torch.compile, a graph a shape; `stock`, diffusers' blocks, with a "
        "timestep for each token. `auto` is `triton` on a GPU that can, else `plain`.",
        default="auto",
    )
    batched_tokens: int = row(
        "LTX2_BATCHED_TOKENS",
        whole(0, 10_000_000),
        "Video tokens of all rows up to which prompt and negative prompt go as one batch; 0 sends "
        "each alone.",
        default=16_384,
    )
    vae_layout: Layout = row(
        "LTX2_VAE_LAYOUT",
        choice(Layout),
        "How the video decoder's tensors lie: `channels_last` or `contiguous`; `auto` is the "
        "first.",
        default="auto",
    )
    freed_memory: Freed = row(
        "LTX2_FREED_MEMORY",
        choice(Freed),
        "What becomes of memory that a pass on a CPU has freed: `kept` for the next one, up to 1 "
        "GiB, or `returned` to the system. `auto` is `kept` on a CPU in the processes of `ltx2` "
        "and its workers; a program of yours that uses the engine is left alone.",
        default="auto",
    )
    fp8_products: bool = row(
        "LTX2_FP8_PRODUCTS",
        flag,
        "1 multiplies layers that `LTX2_TRANSFORMER_QUANTISATION=fp8` has rounded in fp8, too, "
        "which rounds what goes in: another clip, on GPUs from Ada and Hopper on, and not known to "
        "be faster.",
        default=False,
    )
    preset: Preset = row(
        "LTX2_X264_PRESET", choice(Preset), "Speed of the H.264 encoder.", default="veryfast"
    )
    crf: int = row(
        "LTX2_X264_CRF", whole(1, 51), "Quality of the H.264 encoder; lower is better.", default=19
    )
    max_pixels: int = row(
        "LTX2_MAX_PIXELS",
        whole(64 * 64, 4096 * 4096),
        "Pixels of a frame this worker takes.",
        default=1536 * 1536,
    )
    max_seconds: float = row(
        "LTX2_MAX_SECONDS",
        seconds(0.1, 20),
        "Seconds of a clip this worker takes.",
        default=20.0,
    )
    max_tokens: int | None = row(
        "LTX2_MAX_TOKENS",
        whole(1, 10_000_000),
        "Video tokens of a pass this worker takes.",
        shown="no limit",
    )
    max_video_seconds: float = row(
        "LTX2_MAX_VIDEO_SECONDS",
        seconds(0.1, 86_400),
        "Seconds of an existing video this worker details or upscales.",
        default=600.0,
    )
    max_image_bytes: int = row(
        "LTX2_MAX_IMAGE_BYTES",
        whole(1024, 2**30),
        "Bytes of a picture as it is sent or fetched.",
        default=32 * 2**20,
    )
    max_image_pixels: int = row(
        "LTX2_MAX_IMAGE_PIXELS",
        whole(1024, 178_956_970),  # where Pillow stops
        "Pixels of a picture once it is decoded.",
        default=64_000_000,
    )
    fetch_seconds: float = row(
        "LTX2_FETCH_SECONDS",
        seconds(1, 600),
        "Seconds for fetching one picture, redirects included.",
        default=20.0,
    )
    max_lora_bytes: int = row(
        "LTX2_MAX_LORA_BYTES",
        whole(1024, 2**40),
        "Bytes of a LoRA that a request brings, by URL, repository or path.",
        default=12 * 2**30,
    )
    lora_seconds: float = row(
        "LTX2_LORA_SECONDS",
        seconds(1, 86_400),
        "Seconds for fetching one LoRA by URL or from a repository.",
        default=600.0,
    )
    lora_cache_bytes: int = row(
        "LTX2_LORA_CACHE_BYTES",
        whole(0, 2**50),
        "Bytes of fetched LoRAs that stay in `LTX2_CACHE`; those used longest ago go first.",
        default=64 * 2**30,
    )
    allow_private_urls: bool = row(
        "LTX2_ALLOW_PRIVATE_URLS",
        flag,
        "1 lets pictures and LoRAs come from private and loopback addresses: development only.",
        default=False,
    )
    debug: bool = row("LTX2_DEBUG", flag, "1 shows tracebacks on the command line.", default=False)

    def __post_init__(self) -> None:
        """Fill the folders that depend on one another."""
        caches = Path("~/.cache").expanduser()
        hf_home: Path = self.hf_home or caches / "huggingface"
        for name, value in (
            ("cache", self.cache or caches / "ltx2"),
            ("hf_home", hf_home),
            ("hub_cache", self.hub_cache or hf_home / "hub"),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings of this process. An empty variable counts as not set.

        Raises ConfigError with a sentence for each variable that cannot be read, and for each
        unknown `LTX2_` one: a misspelt limit must not be no limit.
        """
        environ = process_environment() if environ is None else environ
        values, problems = setting_rows.read(cls, environ)
        problems += setting_rows.misspelt(environ, known_variables())
        if problems:
            raise ConfigError("; ".join(problems))
        if xdg := environ.get("XDG_CACHE_HOME", "").strip():
            values.setdefault("cache", folder(xdg) / "ltx2")
            values.setdefault("hf_home", folder(xdg) / "huggingface")
        return cls(**values)

    def quantised(self, kind: str) -> Self:
        """The same with transformer and text encoder rounded alike; `kind` as in the settings."""
        if kind not in get_args(Quantisation):
            options = ", ".join(get_args(Quantisation))
            raise BadRequest(f"quantise must be one of {options}; got {kind!r}")
        return replace(self, transformer_quantisation=kind, text_encoder_quantisation=kind)

    def limits(self) -> "Limits":
        """What the planner lets through on this worker."""
        from ltx2.extent import Limits

        return Limits(
            max_pixels=self.max_pixels,
            max_seconds=self.max_seconds,
            max_tokens=self.max_tokens,
            max_video_seconds=self.max_video_seconds,
        )

    def levers(self) -> "Levers":
        """How passes are computed."""
        from pipelines.speed.levers import Levers

        return Levers(
            attention=self.attention,
            blocks=self.blocks,
            batched_tokens=self.batched_tokens,
            vae_layout=self.vae_layout,
            freed_memory=self.freed_memory,
            fp8_products=self.fp8_products,
        )

    def keep_kernels(self) -> None:
        """What torch and Triton compile stays in `LTX2_CACHE` between processes, so that a worker's
        cold start finds it there. Their own variables win, where they are set.
        """
        for variable, name in (
            ("TORCHINDUCTOR_CACHE_DIR", "graphs"),
            ("TRITON_CACHE_DIR", "triton"),
        ):
            os.environ.setdefault(variable, str(self.cache / "kernels" / name))

    def media_limits(self) -> "MediaLimits":
        """What is taken of a picture on this worker."""
        from ltx2.media.fetch import MediaLimits

        return MediaLimits(
            max_bytes=self.max_image_bytes,
            max_pixels=self.max_image_pixels,
            timeout_s=self.fetch_seconds,
            allow_private=self.allow_private_urls,
        )

    def lora_sources(self) -> "LoraSources":
        """Where this worker gets LoRAs from and keeps them."""
        from ltx2.lora_sources import LoraSources

        caches = (self.hub_cache, *([self.runpod_cache] if self.runpod_cache else []))
        return LoraSources(
            folder=self.cache / "loras",
            hub_caches=caches,
            max_bytes=self.max_lora_bytes,
            kept_bytes=self.lora_cache_bytes,
            timeout_s=self.lora_seconds,
            allow_private=self.allow_private_urls,
            endpoint=self.hf_endpoint,
            token=self.hf_token,
            offline=self.hf_offline,
        )

    def as_dict(self) -> dict[str, str | int | float | bool | None]:
        """The settings in effect by variable, for people: secrets are masked."""
        return setting_rows.shown(self)


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def known_variables() -> list[str]:
    """Every variable that any part of this project reads."""
    from ltx2.gateway_settings import GatewaySettings
    from ltx2.worker.settings import WorkerSettings

    return [
        variable
        for each in (Settings, WorkerSettings, GatewaySettings)
        for variable, _, _ in setting_rows.rows(each)
    ]


# Only diffusers' blocks share a clip, and there each layer would round the input it shares.
NO_FP8_TOGETHER = (
    "--parallel computes with diffusers' blocks, which products in fp8 are not for; unset"
    " LTX2_FP8_PRODUCTS (the weights may stay in fp8), or leave out --parallel"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Which process this is of those that `accelerate launch` or `torchrun` started together."""

    rank: int = 0  # from 0, over all machines
    local_rank: int = 0  # from 0, on this machine
    processes: int = 1

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """What the launcher says; one process where there was none.

        Raises ConfigError for what makes no sense.
        """
        environ = process_environment() if environ is None else environ
        names = {"rank": "RANK", "local_rank": "LOCAL_RANK", "processes": "WORLD_SIZE"}
        texts = {field: environ.get(name, "").strip() for field, name in names.items()}
        given = {field: text for field, text in texts.items() if text}
        wrong = [names[field] for field, text in given.items() if not text.isdecimal()]
        if not wrong:
            launch = cls(**{field: int(text) for field, text in given.items()})
            if launch.rank < launch.processes:
                return launch
            wrong = ["RANK", "WORLD_SIZE"]
        told = ", ".join(f"{name}={environ.get(name)!r}" for name in wrong)
        raise ConfigError(f"the launcher's {told} cannot be; start with torchrun, or unset them")

    def problems(self, *, parallel: bool, fp8_products: bool = False) -> list[str]:
        """What is wrong with how this process was started, for a command that makes one clip."""
        if parallel and fp8_products:
            return [NO_FP8_TOGETHER, *self.problems(parallel=parallel)]
        if parallel and self.processes == 1:
            return [
                "--parallel shares a clip between processes, and this is the only one; start it "
                "with: torchrun --nproc-per-node N -m ltx2 generate ... --parallel"
            ]
        if self.processes > 1 and not parallel:
            return [
                f"{self.processes} processes were started, and each would make the same clip; add "
                "--parallel to share it, or use ltx2 batch for many clips"
            ]
        return []
