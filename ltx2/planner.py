"""The planner: from a request to a plan. Pure but for the draw of a seed; no torch."""

import secrets
from collections.abc import Mapping
from itertools import pairwise

from ltx2.adapters import choose_adapters
from ltx2.errors import BadRequest
from ltx2.extent import (
    Limits,
    Notes,
    PictureFacts,
    Pictures,
    check_tokens,
    decode_tiles,
    frames_of,
    size_of,
    tell_of_cuts,
)
from ltx2.passes import SEEDS, check_detail, followed, passes_of
from ltx2.request import Request, asked_pictures
from ltx2.words import forecast
from pipelines.geometry import conditioning_fps
from pipelines.models import CHECKPOINTS, Checkpoint
from pipelines.plan import Condition, DenoisePlan, Pass, Plan
from pipelines.prompts import DEFAULT_NEGATIVE

__all__ = ["DEFAULT_LIMITS", "Limits", "PictureFacts", "find_checkpoint", "plan"]

DEFAULT_LIMITS = Limits()
# Of the reference: with the seed itself, the ancestral sampler would repeat the first noise.
ANCESTRAL_SEED_OFFSET = 10_000


def plan(
    request: Request,
    *,
    checkpoint: Checkpoint | str = "tiny",
    limits: Limits = DEFAULT_LIMITS,
    pictures: Pictures | None = None,
    loras: Mapping[str, str] | None = None,
    reference_downscale: int | None = None,
) -> Plan:
    """Decide every number of a generation. Equal requests with a seed give equal plans.

    `pictures` holds the facts of the fetched pictures by their names ("image", "keyframes[0]",
    "last_image"), `loras` the sha256 of the request's LoRA files by source. Without them a plan is
    made too, with a warning, but its id does not name what is in them. `reference_downscale` is
    what the detailer's file says; without it the catalogue's number is taken.
    Raises BadRequest, UnknownLora or TooLarge with every refusal of the request.
    """
    row = find_checkpoint(checkpoint)
    pictures = pictures or {}
    notes = Notes()
    reference = followed(row, reference_downscale, notes) if request.detailer else 1
    shrink = max(2 if request.spatial_upscaler else 1, reference)
    size = size_of(request, row, limits, pictures, notes, shrink=shrink)
    frames = frames_of(request, row, limits, notes)
    share = 2 if request.temporal_upscaler else 1
    last = share * (frames - 1) + 1
    check_tokens(size, last, share * request.fps, limits, notes)
    if request.detailer:
        check_detail(size, last, reference, limits, notes)
    if request.temporal_upscaler and frames == 1:
        notes.refusals.append(
            BadRequest("temporal_upscaler needs a clip of at least 9 frames; this one has one")
        )
    conditions = _conditions(request, row, frames, pictures, notes)
    tell_of_cuts(size, pictures, [each.image for each in conditions], notes)
    chosen = choose_adapters(request, row, loras)
    notes.refusals += chosen.refusals
    notes.warnings += chosen.warnings
    notes.warnings += forecast(request, row)
    notes.raise_refusals()
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
    passes = passes_of(
        request,
        row,
        size=size,
        frames=frames,
        conditions=conditions,
        adapters=chosen,
        seed=seed,
        reference_downscale=reference_downscale,
    )
    negative = _negative(request, passes.base, notes)
    _warn(request, notes)
    return Plan(
        task="image_to_video" if conditions else "text_to_video",
        mode=request.mode,
        checkpoint=row.name,
        generation=row.generation.name,
        prompt=chosen.prompt,
        negative_prompt=negative,
        seed=seed,
        ancestral_seed=(seed + ANCESTRAL_SEED_OFFSET) % SEEDS,
        width=size.width,
        height=size.height,
        num_frames=passes.frames,
        fps=passes.fps,
        base=passes.base,
        upscalers=passes.upscalers,
        refine=passes.refine,
        temporal_round=passes.temporal_round,
        detail=passes.detail,
        audio_from=_audio_from(request),
        decode=decode_tiles(size),
        images=tuple(
            (c.image, pictures[c.image].sha256) for c in conditions if c.image in pictures
        ),
        metadata=request.metadata,
        snaps=tuple(notes.snaps),
        warnings=tuple(notes.warnings),
    )


def find_checkpoint(checkpoint: Checkpoint | str) -> Checkpoint:
    """A row of the model table by its name. Raises BadRequest for a name that is not in it."""
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if checkpoint not in CHECKPOINTS:
        raise BadRequest(
            f"checkpoint {checkpoint!r} is not in the model table; "
            f"a plan is made for one of {', '.join(CHECKPOINTS)}"
        )
    return CHECKPOINTS[checkpoint]


def _conditions(
    request: Request, row: Checkpoint, frames: int, pictures: Pictures, notes: Notes
) -> tuple[Condition, ...]:
    """The pictures at their frames, first to last; at strength 0 as if they were not given."""
    placed: list[Condition] = []
    ignored: list[str] = []
    for name in asked_pictures(request):
        frame, strength = _moment(request, name, frames, notes)
        if strength == 0:
            ignored.append(name)
            continue
        if name not in pictures:
            notes.warnings.append(f"{name} was not read: the plan's id does not name what is in it")
        crf = row.generation.image_crf
        placed.append(Condition(image=name, frame=frame, strength=strength, crf=crf))
    if ignored:
        notes.warnings.append(f"{' and '.join(ignored)} at strength 0 is ignored")
    placed.sort(key=lambda condition: condition.frame)
    for left, right in pairwise(placed):
        if left.frame == right.frame:
            notes.refusals.append(
                BadRequest(f"{left.image} and {right.image} are both at frame {left.frame}")
            )
    return tuple(placed)


def _moment(request: Request, name: str, frames: int, notes: Notes) -> tuple[int, float]:
    """The frame of a picture and how firmly it is kept."""
    if name == "image":
        return 0, request.image_strength
    if name == "last_image":
        if frames == 1:
            notes.refusals.append(
                BadRequest(
                    "last_image needs a clip of at least 9 frames; this one has a single frame"
                )
            )
        return frames - 1, request.image_strength
    keyframe = request.keyframes[int(name[len("keyframes[") : -1])]
    frame = keyframe.frame
    if frame is None:
        second = keyframe.second or 0.0
        frame = round(second * request.fps)
        if keyframe.strength:
            notes.snap(f"{name}.second", second, frame / request.fps)
    if frame >= frames:
        notes.refusals.append(
            BadRequest(
                f"{name} is at frame {frame}; the clip ends with frame {frames - 1}, "
                f"{(frames - 1) / request.fps:g} s"
            )
        )
    return frame, keyframe.strength


def _audio_from(request: Request) -> Pass | None:
    """The pass that delivers the sound, by the reference: the last in fast, the guided in pro.

    Where the frames are doubled, it is the base pass: none after it makes a sound of its own.
    """
    if not request.generate_audio:
        return None
    joint = request.spatial_upscaler and not request.temporal_upscaler
    return "refine" if request.mode == "fast" and joint else "base"


def _negative(request: Request, base: DenoisePlan, notes: Notes) -> str | None:
    """The negative prompt, None where no pass reads one."""
    if base.video_guidance.cfg != 1 or base.audio_guidance.cfg != 1:
        given = request.negative_prompt
        return DEFAULT_NEGATIVE if given is None else given
    if request.negative_prompt is not None:
        fast = request.mode == "fast"
        why = "mode fast runs without guidance" if fast else "both guidance scales are 1"
        notes.warnings.append(f"negative_prompt is not used: {why}")
    return None


def _warn(request: Request, notes: Notes) -> None:
    """Choices that work but may not be meant."""
    told = conditioning_fps(request.fps)
    if told != request.fps:
        sound = " and falls behind the sound" if request.generate_audio else ""
        better = (
            "24, 25, 30 and 60 fps do not"
            if request.temporal_upscaler
            else f"{request.fps // 2} fps with the temporal upscaler play {request.fps} and do not"
        )
        notes.warnings.append(
            f"the model does not know {request.fps} fps and is told {told:g}: motion plays at "
            f"{request.fps / told:.2f} of its speed{sound}; {better}"
        )
    if request.image_strength != 1 and not (request.image or request.last_image):
        notes.warnings.append("image_strength does nothing without a picture")
    for prefix in ("", "audio_"):
        for name in (f"{prefix}guidance_scale", f"{prefix}modality_scale"):
            value: float | None = getattr(request, name)
            if value is not None and value < 1:
                notes.warnings.append(
                    f"{name} {value:g} steers away from what is asked; 1 switches it off"
                )
