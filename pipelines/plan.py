"""The plan: every number of a generation, decided before any weights are touched.

Frozen data, no torch.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal

from pipelines.geometry import tile_spans

Mode = Literal["fast", "pro"]
Task = Literal["text_to_video", "image_to_video"]
RestoreTask = Literal["detail", "upscale"]
Variant = Literal["distilled", "dev"]
Sampler = Literal["euler", "ancestral_euler"]
Pass = Literal["base", "refine"]
Upscaler = Literal["spatial_upscaler", "spatial_upscaler_x1.5", "temporal_upscaler"]
Sound = Literal["joint", "held", "absent"]


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
    """A LoRA in one pass.

    `source` is a catalogue id, a file path, a URL without its query, or `repo:file`.
    """

    source: str
    strength: float
    sha256: str | None = None  # of the file's bytes; a catalogue id names its content itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A picture at a pixel frame.

    Frame 0 replaces the first latent frame; any other is appended as extra tokens.
    """

    image: str  # the request's name of it: "image", "last_image", "keyframes[0]"
    frame: int  # pixel frame of the pass, 0 .. frames - 1
    strength: float  # 1 keeps the picture, 0 ignores it
    crf: int  # H.264 quality of the round trip before encoding, 0 = none


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisePlan:
    """One pass of the sampler.

    `sound` "joint" denoises picture and sound together; "held" shows the finished sound to the
    picture and leaves it as it is; "absent" cuts the picture off from any sound.
    """

    variant: Variant
    width: int  # pixels, a multiple of 32
    height: int
    frames: int  # pixel frames, 8k + 1
    fps: float  # frame rate the model is conditioned on
    audio_latents: int  # length of the sound as the model sees it; 1 where it is absent
    sigmas: tuple[float, ...]  # ends in 0.0; steps = len - 1
    sampler: Sampler
    eta: float  # ancestral share of fresh noise; 0 for plain Euler
    noise_scale: float  # how far the start is noised; equals sigmas[0]
    video_guidance: Guidance
    audio_guidance: Guidance
    stg_blocks: tuple[int, ...]
    adapters: tuple[Adapter, ...]
    conditions: tuple[Condition, ...]
    sound: Sound = "joint"
    # Pixel frames of pictures that the model invents beside the clip (2.5's temporal rounds).
    slots: tuple[int, ...] = ()
    # The clip as it was before this pass is what it follows, that much smaller along each edge.
    reference_downscale: int | None = None

    @property
    def steps(self) -> int:
        """Model evaluations of the schedule, guidance passes not counted."""
        return len(self.sigmas) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePlan:
    """Tiles of the video decoder or encoder, in pixels and frames.

    A tile at least as large as the clip means one tile.
    """

    tile_width: int
    tile_height: int
    overlap: int  # pixels shared by neighbouring tiles
    tile_frames: int
    overlap_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """A pass over finished latents in overlapping windows of time, one after the other.

    A window after the first is guided by the last latents of the one before it. Its first latent,
    which the model makes as a still, is dropped, and the others that both have are cross-faded.
    """

    denoise: DenoisePlan  # `frames` and `audio_latents` are those of a whole window
    prompt: str
    seed: int  # of the first window; the one at latent t draws from seed + t
    latents: int  # latent frames of a window; the last may be shorter
    overlap: int  # latent frames that neighbours share; 0 where one window holds the clip
    hold: float  # strength of the guiding latents of the window before
    # Of the smaller clip that is followed; None where there is none, and latents do as they are.
    encode: DecodePlan | None = None

    def spans(self, frames: int) -> list[tuple[int, int]]:
        """Latent frames [start, end) of the windows over a clip of `frames` latent frames."""
        return tile_spans(frames, self.latents, self.overlap) if self.overlap else [(0, frames)]

    def steps(self, frames: int) -> int:
        """Model evaluations over a clip of `frames` latent frames."""
        return len(self.spans(frames)) * self.denoise.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A stretch of the clip that a temporal round refines at a time."""

    start: int  # latent frames [start, end)
    end: int
    drop: int  # first latent frames that its neighbour has made
    anchors: tuple[int, ...]  # pixel frames of the clip with a known picture
    slots: tuple[int, ...]  # pixel frames of the clip for which it invents one


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """Twice as many frames, and their refinement in tiles between known pictures (2.5)."""

    denoise: DenoisePlan  # of the whole clip; each tile runs its schedule on its own frames
    known: tuple[int, ...]  # pixel frames of the pictures that the pass before made, doubled
    tiles: tuple[Tile, ...]
    anchor_strength: float
    seed: int  # of the ancestral noise of tile 0; tile t draws from seed + t

    @property
    def steps(self) -> int:
        """Model evaluations of all tiles."""
        return len(self.tiles) * self.denoise.steps


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
    upscalers: tuple[Upscaler, ...]  # between the base pass and what follows it, in this order
    refine: DenoisePlan | None
    temporal_round: RoundPlan | None
    detail: WindowPlan | None
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
    def variant(self) -> Variant:
        """The transformer of every pass."""
        return self.base.variant

    @property
    def passes(self) -> dict[str, DenoisePlan]:
        """Every pass by its name, in the order they run."""
        named = {
            "base": self.base,
            "refine": self.refine,
            "round": self.temporal_round and self.temporal_round.denoise,
            "detail": self.detail and self.detail.denoise,
        }
        return {name: part for name, part in named.items() if part is not None}

    @property
    def wanted_parts(self) -> frozenset[str]:
        """Parts that not every plan needs: upscalers and the distilled LoRA."""
        upscalers = {*self.upscalers, *(("temporal_upscaler",) if self.temporal_round else ())}
        sources = {adapter.source for part in self.passes.values() for adapter in part.adapters}
        return frozenset(upscalers | ({"distilled_lora"} if "distilled" in sources else set()))

    @property
    def texts(self) -> dict[str, tuple[str, str | None]]:
        """The prompt of each pass, and its negative one where it is guided."""
        own = {"base": (self.prompt, self.negative_prompt)}
        if self.detail:
            own["detail"] = (self.detail.prompt, None)
        return {name: own.get(name, (self.prompt, None)) for name in self.passes}

    @property
    def id(self) -> str:
        """Twelve hex digits that name this work.

        The hash of everything that decides the pixels and the sound: pictures and LoRA files by
        their content where they were read.
        """
        return _work_id(self)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types, with its `id` and `duration`."""
        return _plain(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Plan":
        """The inverse of `as_dict`."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: v for k, v in data.items() if k in known}
        values["base"] = _denoise(data["base"])
        values["upscalers"] = tuple(data["upscalers"])
        values["refine"] = _denoise(data["refine"]) if data["refine"] else None
        values["temporal_round"] = (
            _round(data["temporal_round"]) if data["temporal_round"] else None
        )
        values["detail"] = _window(data["detail"]) if data["detail"] else None
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
        "slots": tuple(data["slots"]),
    }
    return DenoisePlan(**values)


def _window(data: dict[str, Any]) -> WindowPlan:
    tiles = DecodePlan(**data["encode"]) if data["encode"] else None
    values: dict[str, Any] = {**data, "denoise": _denoise(data["denoise"]), "encode": tiles}
    return WindowPlan(**values)


def _round(data: dict[str, Any]) -> RoundPlan:
    tiles: list[Tile] = []
    for tile in data["tiles"]:
        own: dict[str, Any] = {
            **tile,
            "anchors": tuple(tile["anchors"]),
            "slots": tuple(tile["slots"]),
        }
        tiles.append(Tile(**own))
    values: dict[str, Any] = {
        **data,
        "denoise": _denoise(data["denoise"]),
        "known": tuple(data["known"]),
        "tiles": tuple(tiles),
    }
    return RoundPlan(**values)


def _work_id(plan: "Plan | RestorePlan") -> str:
    work = asdict(replace(plan, snaps=(), warnings=(), metadata=True))
    return hashlib.sha256(canonical_json(work).encode()).hexdigest()[:12]


def _plain(plan: "Plan | RestorePlan") -> dict[str, Any]:
    return {
        "id": plan.id,
        "duration": plan.duration,
        **json.loads(canonical_json(asdict(plan))),
    }


def canonical_json(value: object) -> str:
    """One text per value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An existing video, as it is read."""

    sha256: str  # of the file
    width: int  # pixels, upright and square
    height: int
    frames: int  # at a constant rate
    rate: str  # frames a second, an exact fraction such as "24000/1001"
    padded_width: int  # as the model sees it: the last column, row and frame repeated
    padded_height: int
    padded_frames: int  # 8k + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What is made of an existing video: encode, [upscalers], [refine], [detail], decode.

    Equal work has an equal `id`; `snaps`, `warnings` and `metadata` are not work.
    """

    task: RestoreTask
    mode: Mode
    checkpoint: str  # as in Plan
    generation: str
    prompt: str  # of the refine pass
    seed: int
    source: Source
    encode: DecodePlan
    upscalers: tuple[Upscaler, ...]
    refine: WindowPlan | None
    detail: WindowPlan | None
    decode: DecodePlan
    width: int  # of the result; what the model makes beyond it was padding
    height: int
    num_frames: int
    rate: str
    keep_audio: bool  # the source's sound, packet by packet
    metadata: bool = True
    snaps: tuple[Snap, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fps(self) -> int | float:
        """Frames a second of the result."""
        rate = Fraction(self.rate)
        return rate.numerator if rate.denominator == 1 else float(rate)

    @property
    def duration(self) -> float:
        """Length of the result in seconds."""
        return float(self.num_frames / Fraction(self.rate))

    @property
    def variant(self) -> Variant:
        """The transformer of every pass."""
        return "distilled" if self.mode == "fast" else "dev"

    @property
    def wanted_parts(self) -> frozenset[str]:
        """Parts that not every plan needs: upscalers and the distilled LoRA."""
        sources = {adapter.source for part in self.passes.values() for adapter in part.adapters}
        return frozenset({*self.upscalers, *({"distilled_lora"} if "distilled" in sources else ())})

    @property
    def passes(self) -> dict[str, DenoisePlan]:
        """Every pass by its name, in the order they run."""
        named = {"refine": self.refine, "detail": self.detail}
        return {name: part.denoise for name, part in named.items() if part is not None}

    @property
    def texts(self) -> dict[str, tuple[str, str | None]]:
        """The prompt of each pass; none is guided."""
        named = {"refine": self.refine, "detail": self.detail}
        return {name: (part.prompt, None) for name, part in named.items() if part is not None}

    @property
    def id(self) -> str:
        """Twelve hex digits that name this work, the source by its content."""
        return _work_id(self)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain JSON types, with its `id` and `duration`."""
        return _plain(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RestorePlan":
        """The inverse of `as_dict`."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {k: v for k, v in data.items() if k in known}
        for name in ("refine", "detail"):
            values[name] = _window(data[name]) if data[name] else None
        values["source"] = Source(**data["source"])
        values["upscalers"] = tuple(data["upscalers"])
        values["encode"] = DecodePlan(**data["encode"])
        values["decode"] = DecodePlan(**data["decode"])
        values["snaps"] = tuple(Snap(**snap) for snap in data["snaps"])
        values["warnings"] = tuple(data["warnings"])
        return cls(**values)
