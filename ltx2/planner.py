"""The planner: from a request to a plan. Pure but for the draw of a seed; no torch."""

import secrets
from collections.abc import Mapping
from dataclasses import replace

from ltx2.adapters import PassAdapters, choose_adapters
from ltx2.errors import BadRequest
from ltx2.extent import (
    Limits,
    Notes,
    PictureFacts,
    Pictures,
    asked_pictures,
    check_tokens,
    decode_tiles,
    frames_of,
    size_of,
)
from ltx2.request import PICTURES, Request
from pipelines.geometry import Size, conditioning_fps
from pipelines.models import CHECKPOINTS, PRO_AUDIO, PRO_VIDEO, Checkpoint
from pipelines.plan import GUIDANCE_OFF, Adapter, Condition, DenoisePlan, Guidance, Pass, Plan
from pipelines.prompts import DEFAULT_NEGATIVE
from pipelines.sigmas import DISTILLED, REFINE, anchor

__all__ = ["DEFAULT_LIMITS", "NOT_YET", "Limits", "PictureFacts", "find_checkpoint", "plan"]

DEFAULT_LIMITS = Limits()
SEEDS = 2**63  # seeds are below this
# Of the reference: with the seed itself, the ancestral sampler would repeat the first noise.
ANCESTRAL_SEED_OFFSET = 10_000

# Turns the dev model into the distilled one; never laid on a distilled checkpoint, which is it.
DISTILLED_LORA = Adapter(source="distilled", strength=1.0)

# Options of the request whose graphs are not part of this version.
NOT_YET: Mapping[str, str] = {
    "detailer": "detailer is not available in this version; leave it out or set it to false",
    "temporal_upscaler": (
        "temporal_upscaler is not available in this version; set fps to 60 for a higher rate"
    ),
    "enhance_prompt": (
        "enhance_prompt is not available in this version; the prompt is used as it is written"
    ),
}


def plan(
    request: Request,
    *,
    checkpoint: Checkpoint | str = "tiny",
    limits: Limits = DEFAULT_LIMITS,
    pictures: Pictures | None = None,
    loras: Mapping[str, str] | None = None,
) -> Plan:
    """Decide every number of a generation. Equal requests with a seed give equal plans.

    `pictures` holds the facts of the fetched pictures by field name ("image", "last_image").
    `loras` the sha256 of the request's LoRA files by source. Without them a plan is made too, with
    a warning, but its id does not name what is in them.
    Raises BadRequest, UnknownLora or TooLarge with every refusal of the request.
    """
    row = find_checkpoint(checkpoint)
    pictures = pictures or {}
    notes = Notes()
    notes.refusals += [BadRequest(text) for name, text in NOT_YET.items() if getattr(request, name)]
    size = size_of(request, row, limits, pictures, notes)
    frames = frames_of(request, row, limits, notes)
    check_tokens(size, frames, request.fps, limits, notes)
    conditions = _conditions(request, row, frames, pictures, notes)
    chosen = choose_adapters(request, row, loras)
    notes.refusals += chosen.refusals
    notes.warnings += chosen.warnings
    base = _base(request, row, size, frames, conditions, chosen)
    negative = _negative(request, base, notes)
    _warn(request, notes)
    notes.raise_refusals()
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
    refine = _refine(request, base, size, chosen) if request.spatial_upscaler else None
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
        num_frames=frames,
        fps=request.fps,
        base=base,
        refine=refine,
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
    """The pictures at their frames, both at `image_strength`; at 0 as if they were not given."""
    asked = asked_pictures(request)
    if asked and request.image_strength == 0:
        notes.warnings.append(f"image_strength 0 ignores {' and '.join(asked)}")
        return ()
    if "last_image" in asked and frames == 1:
        notes.refusals.append(
            BadRequest("last_image needs a clip of at least 9 frames; this one has a single frame")
        )
    unread = [name for name in asked if name not in pictures]
    if unread:
        notes.warnings.append(
            f"{' and '.join(unread)} not read: the plan's id does not name what is in it"
        )
    return tuple(
        Condition(
            image=name,
            frame=0 if name == "image" else frames - 1,
            strength=request.image_strength,
            crf=row.generation.image_crf,
        )
        for name in PICTURES
        if name in asked
    )


def _base(
    request: Request,
    row: Checkpoint,
    size: Size,
    frames: int,
    conditions: tuple[Condition, ...],
    adapters: PassAdapters,
) -> DenoisePlan:
    """The first pass, at half the size where a second one follows.

    At 48 and 50 frames a second the model is told 60, the nearest rate that it knows: it lays the
    picture out over frames / 60 seconds, while the sound gets as many latents as the clip plays,
    frames / fps seconds. Both have the same length in the file, but what is seen plays at fps / 60
    of the speed of what is heard; hence the plan's warning.
    """
    generation = row.generation
    fast = request.mode == "fast"
    video = GUIDANCE_OFF if fast else _guidance(request, "", PRO_VIDEO)
    audio = GUIDANCE_OFF if fast else _guidance(request, "audio_", PRO_AUDIO)
    steps = request.num_inference_steps or generation.dev_steps
    sampler = generation.distilled_sampler if fast else "euler"
    sigmas = DISTILLED if fast else anchor(steps)
    share = 2 if request.spatial_upscaler else 1
    return DenoisePlan(
        variant="distilled" if fast else "dev",
        width=size.width // share,
        height=size.height // share,
        frames=frames,
        fps=conditioning_fps(request.fps),
        sigmas=sigmas,
        sampler=sampler,
        eta=1.0 if sampler == "ancestral_euler" else 0.0,
        noise_scale=sigmas[0],
        video_guidance=video,
        audio_guidance=audio,
        stg_blocks=generation.stg_blocks if video.stg or audio.stg else (),
        adapters=adapters.base,
        conditions=conditions,
    )


def _refine(request: Request, base: DenoisePlan, size: Size, adapters: PassAdapters) -> DenoisePlan:
    """The second pass: full size, the end of the distilled schedule, unguided, same pictures."""
    distilled = () if request.mode == "fast" else (DISTILLED_LORA,)
    return replace(
        base,
        width=size.width,
        height=size.height,
        sigmas=REFINE,
        sampler="euler",
        eta=0.0,
        noise_scale=REFINE[0],
        video_guidance=GUIDANCE_OFF,
        audio_guidance=GUIDANCE_OFF,
        stg_blocks=(),
        adapters=(*distilled, *adapters.refine),
    )


def _audio_from(request: Request) -> Pass | None:
    """The pass that delivers the sound, by the reference: the last in fast, the guided in pro."""
    if not request.generate_audio:
        return None
    return "refine" if request.mode == "fast" and request.spatial_upscaler else "base"


def _guidance(request: Request, prefix: str, standard: Guidance) -> Guidance:
    """A stream's guidance with what the request replaces. An explicit 0 is 0."""

    def chosen(name: str, default: float) -> float:
        value: float | None = getattr(request, prefix + name)
        return default if value is None else value

    return Guidance(
        cfg=chosen("guidance_scale", standard.cfg),
        stg=chosen("stg_scale", standard.stg),
        modality=chosen("modality_scale", standard.modality),
        rescale=chosen("guidance_rescale", standard.rescale),
    )


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
        notes.warnings.append(
            f"the model does not know {request.fps} fps and is told {told:g}: motion plays at "
            f"{request.fps / told:.2f} of its speed{sound}; 24, 25, 30 and 60 fps do not"
        )
    if request.image_strength != 1 and not asked_pictures(request):
        notes.warnings.append("image_strength does nothing without a picture")
    for prefix in ("", "audio_"):
        for name in (f"{prefix}guidance_scale", f"{prefix}modality_scale"):
            value: float | None = getattr(request, name)
            if value is not None and value < 1:
                notes.warnings.append(
                    f"{name} {value:g} steers away from what is asked; 1 switches it off"
                )
