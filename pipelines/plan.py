"""The plan: every number of a generation, decided before any weights are touched.

Frozen data, no torch.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Mode = Literal["fast", "pro"]
Task = Literal["text_to_video", "image_to_video"]
Variant = Literal["distilled", "dev"]
Sampler = Literal["euler", "ancestral_euler"]
Pass = Literal["base", "refine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snap:
    """A value that was moved to the nearest one the model can use."""

    name: str
    asked: float
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Guidance of one modality, in x0 space.

    The neutral values switch a term, and its forward pass, off.
    """

    cfg: float = 1.0  # classifier-free, 1 = off
    stg: float = 0.0  # spatio-temporal, 0 = off
    modality: float = 1.0  # against the other modality's absence, 1 = off
    rescale: float = 0.0  # 0..1, share of the standard deviation that is restored


GUIDANCE_OFF = Guidance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA in one pass. `source` is a catalogue id, a file path, a URL or `repo:file`."""

    source: str
    strength: float
    sha256: str | None = None  # of a path's bytes; a catalogue id names its content itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A picture at a pixel frame.

    Frame 0 replaces the first latent frame; any other is appended as extra tokens.
    """

    image: Literal["image", "last_image"]
    frame: int  # pixel frame, 0 .. frames - 1
    strength: float  # 1 keeps the picture, 0 ignores it
    crf: int  # H.264 quality of the round trip before encoding, 0 = none


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisePlan:
    """One pass of the sampler."""

    variant: Variant
    width: int  # pixels, a multiple of 32
    height: int
    frames: int  # pixel frames, 8k + 1
    fps: float  # frame rate the model is conditioned on
    sigmas: tuple[float, ...]  # ends in 0.0; steps = len - 1
    sampler: Sampler
    eta: float  # ancestral share of fresh noise; 0 for plain Euler
    noise_scale: float  # how far the start is noised; equals sigmas[0]
    video_guidance: Guidance
    audio_guidance: Guidance
    stg_blocks: tuple[int, ...]
    adapters: tuple[Adapter, ...]
    conditions: tuple[Condition, ...]

    @property
    def steps(self) -> int:
        """Model evaluations of the schedule, guidance passes not counted."""
        return len(self.sigmas) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePlan:
    """Tiles of the video decoder, in pixels and frames.

    A tile at least as large as the clip means one tile.
    """

    tile_width: int
    tile_height: int
    overlap: int  # pixels shared by neighbouring tiles
    tile_frames: int
    overlap_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole generation.

    Equal work has an equal `id`; `snaps`, `warnings` and `metadata` are not work.
    """

    task: Task
    mode: Mode
    checkpoint: str  # row of pipelines.models.CHECKPOINTS or a hub repository, never a local path
    generation: str  # row of pipelines.models.GENERATIONS
    prompt: str
    negative_prompt: str | None  # None where no pass is guided
    seed: int
    ancestral_seed: int  # seed of the ancestral sampler's own noise
    width: int
    height: int
    num_frames: int
    fps: int
    base: DenoisePlan
    refine: DenoisePlan | None
    audio_from: Pass | None  # which pass delivers the sound; None = a clip without sound
    decode: DecodePlan
    images: tuple[tuple[str, str], ...] = ()  # (name, sha256 of the picture's bytes)
    metadata: bool = True
    snaps: tuple[Snap, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length of the clip in seconds."""
        return self.num_frames / self.fps

    @property
    def id(self) -> str:
        """Twelve hex digits that name this work.

        The hash of everything that decides the pixels and the sound: pictures and LoRA files by
        their content where they were read.
        """
        work = asdict(replace(self, snaps=(), warnings=(), metadata=True))
        return hashlib.sha256(canonical_json(work).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types, with its `id` and `duration`."""
        return {
            "id": self.id,
            "duration": self.duration,
            **json.loads(canonical_json(asdict(self))),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Plan":
        """The inverse of `as_dict`."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: v for k, v in data.items() if k in known}
        values["base"] = _denoise(data["base"])
        values["refine"] = _denoise(data["refine"]) if data["refine"] else None
        values["decode"] = DecodePlan(**data["decode"])
        values["images"] = tuple((name, digest) for name, digest in data["images"])
        values["snaps"] = tuple(Snap(**snap) for snap in data["snaps"])
        values["warnings"] = tuple(data["warnings"])
        return cls(**values)


def _denoise(data: dict[str, Any]) -> DenoisePlan:
    values: dict[str, Any] = {
        **data,
        "sigmas": tuple(data["sigmas"]),
        "stg_blocks": tuple(data["stg_blocks"]),
        "video_guidance": Guidance(**data["video_guidance"]),
        "audio_guidance": Guidance(**data["audio_guidance"]),
        "adapters": tuple(Adapter(**a) for a in data["adapters"]),
        "conditions": tuple(Condition(**c) for c in data["conditions"]),
    }
    return DenoisePlan(**values)


def canonical_json(value: object) -> str:
    """One text per value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
