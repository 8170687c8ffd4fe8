"""The settings: the only reader of the environment. docs/configuration.md lists them all."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from ltx2.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from ltx2.extent import Limits
    from ltx2.lora_sources import LoraSources
    from ltx2.media.fetch import MediaLimits

Dtype = Literal["float32", "bfloat16"]
Residency = Literal["resident", "staged", "freed", "offload", "stream"]
Quantisation = Literal["none", "fp8", "int8"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class _RefusedError(ValueError):
    """A variable's text is not what it takes; the message says what would be."""


def _flag(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise _RefusedError("1 or 0")
    return text.lower() in _YES


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise _RefusedError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _number(low: float, high: float, unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise _RefusedError(f"{unit} from {low:g} to {high:g}")
        return value

    return read


def _seconds(low: float, high: float) -> Callable[[str], float]:
    return _number(low, high, "seconds")


def _choice(literal: Any) -> Callable[[str], Any]:  # noqa: ANN401 - a Literal has no type of its own
    choices: tuple[str, ...] = get_args(literal)

    def read(text: str) -> str:
        if text not in choices:
            raise _RefusedError("one of " + ", ".join(choices))
        return text

    return read


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if text == "cpu" or (kind == "cuda" and (index.isdigit() or text == "cuda")):
        return text
    raise _RefusedError("cpu, cuda or cuda:N")


def _folder(text: str) -> Path:
    return Path(text).expanduser()


def _row(
    variable: str,
    read: Callable[[str], Any],
    sentence: str,
    *,
    default: Any = None,  # noqa: ANN401 - as the field's type
    shown: str | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A setting: its variable, reader, sentence, and how the document writes its default."""
    note = {
        "variable": variable,
        "read": read,
        "sentence": sentence,
        "shown": shown,
        "secret": secret,
    }
    return field(default=default, metadata=note, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process runs. None where nothing was set and the machine decides."""

    checkpoint: str = _row(
        "LTX2_CHECKPOINT",
        str,
        "Which weights: a name, a folder, a file, a repository, or `auto`.",
        default="auto",
    )
    weights: Path | None = _row("LTX2_WEIGHTS", _folder, "Folder with weights, looked in first.")
    runpod_cache: Path | None = _row(
        "LTX2_RUNPOD_CACHE",
        _folder,
        "RunPod's cached-model folder, laid out as a hub cache.",
        default=Path("/runpod-volume/huggingface-cache/hub"),
    )
    baked_weights: Path | None = _row(
        "LTX2_BAKED_WEIGHTS",
        _folder,
        "Folder of weights that were baked into an image.",
        default=Path("/models"),
    )
    volume_weights: Path | None = _row(
        "LTX2_VOLUME_WEIGHTS",
        _folder,
        "Folder of weights on a network volume.",
        default=Path("/runpod-volume/models"),
    )
    cache: Path = _row(
        "LTX2_CACHE",
        _folder,
        "Folder for what is built or fetched here, the embedded checkpoint included.",
        shown="`$XDG_CACHE_HOME/ltx2`, else `~/.cache/ltx2`",
    )
    hf_home: Path = _row(
        "HF_HOME",
        _folder,
        "Folder of the Hugging Face libraries.",
        shown="`$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`",
    )
    hub_cache: Path = _row(
        "HF_HUB_CACHE", _folder, "The hub's cache of repositories.", shown="`$HF_HOME/hub`"
    )
    hf_token: str | None = _row(
        "HF_TOKEN", str, "Token for gated and private repositories.", secret=True
    )
    hf_endpoint: str | None = _row(
        "HF_ENDPOINT", str, "Address of the hub.", shown="the library's own"
    )
    hf_offline: bool = _row(
        "HF_HUB_OFFLINE", _flag, "1 keeps the hub's library off the network.", default=False
    )
    device: str | None = _row(
        "LTX2_DEVICE", _device, "Where the model runs.", shown="cuda where there is one, else cpu"
    )
    dtype: Dtype | None = _row(
        "LTX2_DTYPE",
        _choice(Dtype),
        "Type of the weights; the sound is always decoded in float32.",
        shown="bfloat16 on a GPU, float32 on a CPU",
    )
    residency: Residency | None = _row(
        "LTX2_RESIDENCY",
        _choice(Residency),
        "`resident` keeps every part on the device; `staged` keeps the text encoder in host memory "
        "and moves it there for the prompt; `freed` loads it for each new prompt and drops it; "
        "`offload` moves one part there at a time; `stream` does so block by block.",
        shown="the fastest that fits, for each clip",
    )
    device_memory: float | None = _row(
        "LTX2_DEVICE_MEMORY_GIB",
        _number(0.01, 4096, "GiB"),
        "Most GiB of the GPU that a clip may be planned to take.",
        shown="what is free on it",
    )
    transformer_quantisation: Quantisation = _row(
        "LTX2_TRANSFORMER_QUANTISATION",
        _choice(Quantisation),
        "`fp8` or `int8` rounds the transformer's large layers to a byte a weight as they are "
        "read: half of bfloat16's memory, and another clip than the exact one. Not for a GGUF "
        "file, which is rounded already.",
        default="none",
    )
    text_encoder_quantisation: Quantisation = _row(
        "LTX2_TEXT_ENCODER_QUANTISATION",
        _choice(Quantisation),
        "The same for the text encoder's layers.",
        default="none",
    )
    preset: Preset = _row(
        "LTX2_X264_PRESET", _choice(Preset), "Speed of the H.264 encoder.", default="veryfast"
    )
    crf: int = _row(
        "LTX2_X264_CRF", _whole(1, 51), "Quality of the H.264 encoder; lower is better.", default=19
    )
    max_pixels: int = _row(
        "LTX2_MAX_PIXELS",
        _whole(64 * 64, 4096 * 4096),
        "Pixels of a frame this worker takes.",
        default=1536 * 1536,
    )
    max_seconds: float = _row(
        "LTX2_MAX_SECONDS",
        _seconds(0.1, 20),
        "Seconds of a clip this worker takes.",
        default=20.0,
    )
    max_tokens: int | None = _row(
        "LTX2_MAX_TOKENS",
        _whole(1, 10_000_000),
        "Video tokens of a pass this worker takes.",
        shown="no limit",
    )
    max_video_seconds: float = _row(
        "LTX2_MAX_VIDEO_SECONDS",
        _seconds(0.1, 86_400),
        "Seconds of an existing video this worker details or upscales.",
        default=600.0,
    )
    max_image_bytes: int = _row(
        "LTX2_MAX_IMAGE_BYTES",
        _whole(1024, 2**30),
        "Bytes of a picture as it is sent or fetched.",
        default=32 * 2**20,
    )
    max_image_pixels: int = _row(
        "LTX2_MAX_IMAGE_PIXELS",
        _whole(1024, 178_956_970),  # where Pillow stops
        "Pixels of a picture once it is decoded.",
        default=64_000_000,
    )
    fetch_seconds: float = _row(
        "LTX2_FETCH_SECONDS",
        _seconds(1, 600),
        "Seconds for fetching one picture, redirects included.",
        default=20.0,
    )
    max_lora_bytes: int = _row(
        "LTX2_MAX_LORA_BYTES",
        _whole(1024, 2**40),
        "Bytes of a LoRA that a request brings, by URL, repository or path.",
        default=12 * 2**30,
    )
    lora_seconds: float = _row(
        "LTX2_LORA_SECONDS",
        _seconds(1, 86_400),
        "Seconds for fetching one LoRA by URL or from a repository.",
        default=600.0,
    )
    lora_cache_bytes: int = _row(
        "LTX2_LORA_CACHE_BYTES",
        _whole(0, 2**50),
        "Bytes of fetched LoRAs that stay in `LTX2_CACHE`; those used longest ago go first.",
        default=64 * 2**30,
    )
    allow_private_urls: bool = _row(
        "LTX2_ALLOW_PRIVATE_URLS",
        _flag,
        "1 lets pictures and LoRAs come from private and loopback addresses: development only.",
        default=False,
    )
    debug: bool = _row(
        "LTX2_DEBUG", _flag, "1 shows tracebacks on the command line.", default=False
    )

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
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[str] = []
        for variable, name, note in rows():
            text = environ.get(variable, "").strip()
            if not text:
                continue
            try:
                values[name] = note["read"](text)
            except _RefusedError as wanted:
                got = "" if note["secret"] else f"; it is {text!r}"
                problems.append(f"{variable} must be {wanted}{got}")
        known = [variable for variable, _, _ in rows()]
        for variable in sorted(environ):
            if variable.startswith("LTX2_") and variable not in known:
                close = difflib.get_close_matches(variable, known, n=2)
                advice = (
                    f"did you mean {' or '.join(close)}?" if close else "see docs/configuration.md"
                )
                problems.append(f"{variable} is no setting; {advice}")
        if problems:
            raise ConfigError("; ".join(problems))
        if xdg := environ.get("XDG_CACHE_HOME", "").strip():
            values.setdefault("cache", _folder(xdg) / "ltx2")
            values.setdefault("hf_home", _folder(xdg) / "huggingface")
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
        shown: dict[str, str | int | float | bool | None] = {}
        for variable, name, note in rows():
            value = getattr(self, name)
            if note["secret"] and value:
                value = "set"
            shown[variable] = str(value) if isinstance(value, Path) else value
        return shown


def rows() -> list[tuple[str, str, Mapping[str, Any]]]:
    """Every setting: its variable, its field and its notes, in the order of the document."""
    return [(part.metadata["variable"], part.name, part.metadata) for part in fields(Settings)]


def table() -> str:
    """The table of docs/configuration.md."""
    lines = ["| variable | default | what it does |", "|-|-|-|"]
    for part in fields(Settings):
        note = part.metadata
        value: Any = part.default
        default = note["shown"] or {None: "not set", False: "0"}.get(value, f"`{value}`")
        lines.append(f"| `{note['variable']}` | {default} | {note['sentence']} |")
    return "\n".join(lines)
