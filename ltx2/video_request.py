"""What may be asked for an existing video: more detail, or more pixels and frames. No torch."""

import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from ltx2.errors import BadRequest
from ltx2.forms import shown
from pipelines.plan import Mode, RestoreTask, Upscaler

# The spatial upscaler of each factor; 1 leaves the size as it is.
SPATIAL: Final[dict[float, Upscaler | None]] = {
    2.0: "spatial_upscaler",
    1.5: "spatial_upscaler_x1.5",
    1.0: None,
}
DEFAULT_MODES: Final[dict[RestoreTask, Mode]] = {"detail": "pro", "upscale": "fast"}
MAX_PROMPT = 10_000  # characters
MAX_STRENGTH = 2.0
_SWITCHES = ("temporal", "refine", "detailer", "audio", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """What is to be made of a video file. Raises BadRequest with every problem found.

    "detail" redraws it at its size with a detailer; "upscale" enlarges it in space (`spatial` 2,
    1.5 or 1) and doubles its frames (`temporal`), then refines it by the model (`refine`) with a
    `prompt` that may be empty, and details it where `detailer` is set.
    """

    task: RestoreTask
    video: Path  # or its text
    mode: Mode | None = None  # None: the dev model for detail, the distilled one for upscale
    seed: int | None = None  # None draws one, which the result carries
    spatial: float = 2.0
    temporal: bool = False
    refine: bool = True
    prompt: str = ""
    detailer: bool = False
    strength: float = 1.0  # of the detailer
    audio: bool = True  # False leaves the source's sound away
    metadata: bool = True
    generation_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, and take a path that is a text."""
        if isinstance(self.video, str) and self.video:
            object.__setattr__(self, "video", Path(self.video))
        if problems := _problems(self):
            raise BadRequest(problems)

    @property
    def model(self) -> Mode:
        """The mode that runs."""
        return self.mode or DEFAULT_MODES[self.task]

    @property
    def upscalers(self) -> tuple[Upscaler, ...]:
        """What enlarges the clip, in order."""
        if self.task == "detail":
            return ()
        spatial = SPATIAL[float(self.spatial)]
        doubled: tuple[Upscaler, ...] = ("temporal_upscaler",) if self.temporal else ()
        return (*((spatial,) if spatial else ()), *doubled)

    @property
    def refines(self) -> bool:
        """Whether the model works on the enlarged clip."""
        return self.task == "upscale" and self.refine

    @property
    def details(self) -> bool:
        """Whether the detailer works on the clip."""
        return self.task == "detail" or self.detailer

    @property
    def parts(self) -> frozenset[str]:
        """The optional parts of a checkpoint that it needs."""
        distilled = {"distilled_lora"} if self.refines and self.model == "pro" else set[str]()
        return frozenset({*self.upscalers, *distilled})


def _problems(request: VideoRequest) -> list[str]:
    found: list[str] = []
    if not _one_of(request.task, DEFAULT_MODES):
        found.append(f"task must be detail or upscale; got {shown(request.task)}")
    if not isinstance(request.video, Path):
        found.append(f"video must be the path of a file; got {shown(request.video)}")
    if request.mode is not None and not _one_of(request.mode, ("fast", "pro")):
        found.append(f"mode must be fast or pro; got {shown(request.mode)}")
    if request.seed is not None and not _whole(request.seed, 0, 2**63 - 1):
        found.append(
            f"seed must be a whole number from 0 to {2**63 - 1}; got {shown(request.seed)}"
        )
    if not _number(request.strength) or not 0 < request.strength <= MAX_STRENGTH:
        found.append(
            f"strength must be a number above 0, at most {MAX_STRENGTH:g}; "
            f"got {shown(request.strength)}"
        )
    if not _number(request.spatial) or float(request.spatial) not in SPATIAL:
        factors = ", ".join(f"{factor:g}" for factor in SPATIAL)
        found.append(f"spatial must be one of {factors}; got {shown(request.spatial)}")
    for name in _SWITCHES:
        value: Any = getattr(request, name)
        if not isinstance(value, bool):
            found.append(f"{name} must be true or false; got {shown(value)}")
    found += _texts(request)
    return found or _conflicts(request)


def _texts(request: VideoRequest) -> list[str]:
    found: list[str] = []
    if not isinstance(request.prompt, str):
        found.append(f"prompt must be a text; got {shown(request.prompt)}")
    elif len(request.prompt) > MAX_PROMPT:
        found.append(f"prompt must have at most {MAX_PROMPT:,} characters")
    if not isinstance(request.generation_id, str | None):
        found.append(f"generation_id must be a text; got {shown(request.generation_id)}")
    return found


def _conflicts(request: VideoRequest) -> list[str]:
    if request.task == "detail":
        unused = [
            each.name
            for each in fields(VideoRequest)
            if each.name in ("spatial", "temporal", "refine", "prompt", "detailer")
            and getattr(request, each.name) != each.default
        ]
        return [f"{name} is for upscale, detail keeps size and rate" for name in unused]
    found: list[str] = []
    if not request.upscalers:
        found.append("nothing to upscale: set spatial to 2 or 1.5, or temporal to true")
    if request.prompt and not request.refine:
        found.append("prompt is read by the refine pass alone; leave it out or set refine to true")
    if request.strength != 1 and not request.detailer:
        found.append("strength is that of the detailer; set detailer to true or leave it out")
    return found


def _one_of(value: Any, names: Collection[str]) -> bool:  # noqa: ANN401
    return isinstance(value, str) and value in names


def _number(value: Any) -> bool:  # noqa: ANN401 - from callers who may give anything
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any, low: int, high: int) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
