"""The passes of a generation: what each denoises, at which size, rate and noise. No torch."""

from dataclasses import dataclass, replace

from loras import catalog
from ltx2.adapters import PassAdapters
from ltx2.errors import BadRequest, TooLarge
from ltx2.extent import Limits, Notes, encode_tiles
from ltx2.request import Request
from pipelines.geometry import (
    Size,
    audio_latents,
    conditioning_fps,
    latent_frames,
    pixel_frames,
    video_tokens,
)
from pipelines.keyframe_grid import tiles_between, whole_segments
from pipelines.models import CHECKPOINTS, PRO_AUDIO, PRO_VIDEO, Checkpoint
from pipelines.plan import (
    GUIDANCE_OFF,
    Adapter,
    Condition,
    DenoisePlan,
    Guidance,
    RoundPlan,
    Upscaler,
    Variant,
    WindowPlan,
)
from pipelines.sigmas import DISTILLED, TEMPORAL_ROUND, anchor

SEEDS = 2**63  # seeds are below this
# Apart from the seed itself, whose draws the first pass has had.
ROUND_SEED_OFFSET = 1000  # by the reference: 1000 for each round, and the tile's number
DETAIL_SEED_OFFSET = 20_000

# Of the reference's rounds: two tiles in the first one, known pictures held just short of fully.
ROUND_TILES, ANCHOR_STRENGTH, ROUND_ETA = 2, 0.95, 0.5
# Half the clip's edge: what the refine pass of a clip with a temporal round follows.
BASE_SHRINK = 2
# Of Lightricks' detailer graph: latent frames of a window, those that neighbours share, and how
# firmly the first of a window are guided by the last of the one before.
WINDOW, WINDOW_OVERLAP, WINDOW_HOLD = 7, 3, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """All passes of a plan, and the frames they end with."""

    base: DenoisePlan
    upscalers: tuple[Upscaler, ...]
    refine: DenoisePlan | None
    temporal_round: RoundPlan | None
    detail: WindowPlan | None
    frames: int  # of the result
    fps: int


def passes_of(
    request: Request,
    row: Checkpoint,
    *,
    size: Size,
    frames: int,
    conditions: tuple[Condition, ...],
    adapters: PassAdapters,
    seed: int,
    reference_downscale: int | None = None,
) -> Passes:
    """The passes of a request whose size and length are decided.

    `reference_downscale` is what the detailer's own file says, where it was read.
    """
    rounds = request.temporal_upscaler and row.generation.temporal == "round"
    doubled = request.temporal_upscaler and not rounds
    base = _base(request, row, size, frames, conditions, adapters)
    if rounds:
        base = _with_slots(base, request.fps)
    upscalers: tuple[Upscaler, ...] = (
        *(("spatial_upscaler",) if request.spatial_upscaler else ()),
        *(("temporal_upscaler",) if doubled else ()),
    )
    refine = _refine(request, row, base, size, adapters) if upscalers else None
    if refine and doubled:
        refine = _twice_as_many(refine, request.fps)
    if refine and rounds:
        refine = replace(refine, reference_downscale=BASE_SHRINK)
    temporal_round = (
        _round(refine or _refine(request, row, base, size, adapters), request.fps, seed)
        if rounds
        else None
    )
    last, fps = frames, request.fps
    if request.temporal_upscaler:
        last, fps = 2 * frames - 1, 2 * request.fps
    detail = None
    if request.detailer:
        detail = detail_pass(
            row,
            variant=base.variant,
            size=size,
            frames=last,
            fps=fps,
            seed=seed,
            reference_downscale=reference_downscale,
        )
    return Passes(
        base=base,
        upscalers=upscalers,
        refine=refine,
        temporal_round=temporal_round,
        detail=detail,
        frames=last,
        fps=fps,
    )


def _base(
    request: Request,
    row: Checkpoint,
    size: Size,
    frames: int,
    conditions: tuple[Condition, ...],
    adapters: PassAdapters,
) -> DenoisePlan:
    """The first pass, at half the size where the spatial upscaler follows it.

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
        audio_latents=audio_latents(frames / request.fps),
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


def _with_slots(base: DenoisePlan, fps: int) -> DenoisePlan:
    """The first pass of a clip that gets a temporal round: lengthened to whole segments, with a
    picture of its own at the end of each, and by plain Euler, as the reference has it.
    """
    grid = whole_segments(base.frames)
    return replace(
        base,
        frames=grid.frames,
        audio_latents=audio_latents(grid.frames / fps),
        slots=grid.slots,
        sampler="euler",
        eta=0.0,
    )


def distilled_lora(row: Checkpoint) -> Adapter:
    """What turns the dev model into the distilled one, in the passes after the first; never laid on
    a distilled checkpoint, which is one.
    """
    entry = catalog.get("distilled", row.generation.name)
    return Adapter(source=entry.id, strength=entry.strengths["refine"])


def _refine(
    request: Request, row: Checkpoint, base: DenoisePlan, size: Size, adapters: PassAdapters
) -> DenoisePlan:
    """The second pass: full size, the end of the distilled schedule, unguided, same pictures."""
    distilled = () if request.mode == "fast" else (distilled_lora(row),)
    sigmas = row.generation.refine_sigmas
    return replace(
        base,
        width=size.width,
        height=size.height,
        sigmas=sigmas,
        sampler="euler",
        eta=0.0,
        noise_scale=sigmas[0],
        video_guidance=GUIDANCE_OFF,
        audio_guidance=GUIDANCE_OFF,
        stg_blocks=(),
        adapters=(*distilled, *adapters.refine),
    )


def _twice_as_many(refine: DenoisePlan, fps: int) -> DenoisePlan:
    """The second pass over twice the frames, beside the finished sound.

    No model is told 48 or 120 frames a second. Where the rate it is told differs from the one that
    plays, the clip is shorter or longer in the model's time, and the sound is stretched to it.
    """
    frames = 2 * refine.frames - 1
    told = conditioning_fps(2 * fps)
    return replace(
        refine,
        frames=frames,
        fps=told,
        audio_latents=audio_latents(frames / told),
        sound="held",
        conditions=_doubled(refine.conditions),
    )


def _doubled(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(replace(condition, frame=2 * condition.frame) for condition in conditions)


def _round(refine: DenoisePlan, fps: int, seed: int) -> RoundPlan:
    """Twice the frames after the second pass, refined between the pictures that it made."""
    known = tuple(2 * frame for frame in refine.slots)
    return RoundPlan(
        denoise=replace(
            refine,
            frames=2 * refine.frames - 1,
            fps=conditioning_fps(2 * fps),
            audio_latents=1,
            sound="absent",
            sigmas=TEMPORAL_ROUND,
            sampler="ancestral_euler",
            eta=ROUND_ETA,
            noise_scale=TEMPORAL_ROUND[0],
            conditions=_doubled(refine.conditions),
            slots=(),
            reference_downscale=None,
        ),
        known=known,
        tiles=tiles_between(known, ROUND_TILES),
        anchor_strength=ANCHOR_STRENGTH,
        seed=(seed + ROUND_SEED_OFFSET) % SEEDS,
    )


def followed(row: Checkpoint, reference_downscale: int | None, notes: Notes) -> int:
    """How much smaller than the clip what the detailer follows is, along each edge.

    `reference_downscale` is what its file says; None takes the catalogue's. A generation without a
    detailer is refused in the notes.
    """
    try:
        entry = catalog.get("detailer", row.generation.name)
    except LookupError:
        having = [
            each.name
            for each in CHECKPOINTS.values()
            if any(
                entry.kind == "detailer" and each.generation.name in entry.generations
                for entry in catalog.entries()
            )
        ]
        notes.refusals.append(
            BadRequest(f"there is no detailer for {row.name}; there is one for {', '.join(having)}")
        )
        return 1
    return reference_downscale or entry.reference_downscale or 1


def check_detail(size: Size, frames: int, shrink: int, limits: Limits, notes: Notes) -> None:
    """Refuse a detail pass whose windows have more video tokens than this worker takes.

    A window after the first has its own latents, the last ones of the window before it and, from
    there on, those that it follows, `shrink` times smaller along each edge.
    """
    cell = video_tokens(*size, 1)
    smaller = video_tokens(size.width // shrink, size.height // shrink, 1)
    latents = latent_frames(frames)
    window = min(latents, WINDOW)
    tokens = window * (cell + smaller)
    if latents > WINDOW:
        tokens += WINDOW_OVERLAP * (cell - smaller)
    if limits.max_tokens is not None and tokens > limits.max_tokens:
        notes.refusals.append(
            TooLarge(
                f"a window of {window} latent frames of the detail pass is {tokens:,} video tokens "
                f"at {size}, with what it follows; this worker takes {limits.max_tokens:,}: "
                "a smaller frame fits, or none of the detailer"
            )
        )


def detail_pass(
    row: Checkpoint,
    *,
    variant: Variant,
    size: Size,
    frames: int,
    fps: float,
    seed: int,
    strength: float = 1.0,
    reference_downscale: int | None = None,
) -> WindowPlan:
    """The detailer over a clip of `frames` frames, by Lightricks' graph.

    Without a prompt and without sound, from the clip itself at the refine pass's noise, following
    it at `reference_downscale` (the catalogue's where None). Raises LookupError where the
    generation has no detailer.
    """
    entry = catalog.get("detailer", row.generation.name)
    shrink = reference_downscale or entry.reference_downscale or 1
    latents = latent_frames(frames)
    whole = latents <= WINDOW
    window = latents if whole else WINDOW
    return WindowPlan(
        denoise=replace(
            silent_refine(
                row,
                variant,
                size,
                pixel_frames(window),
                fps,
                (Adapter(source=entry.id, strength=entry.strengths["detail"] * strength),),
            ),
            reference_downscale=shrink,
        ),
        prompt="",
        seed=(seed + DETAIL_SEED_OFFSET) % SEEDS,
        latents=window,
        overlap=0 if whole else WINDOW_OVERLAP,
        hold=WINDOW_HOLD,
        encode=encode_tiles(Size(size.width // shrink, size.height // shrink))
        if shrink > 1
        else None,
    )


def silent_refine(
    row: Checkpoint,
    variant: Variant,
    size: Size,
    frames: int,
    fps: float,
    adapters: tuple[Adapter, ...],
) -> DenoisePlan:
    """A pass over finished latents: the end of the distilled schedule, unguided, without sound.

    `fps` is the rate that plays; the model is told the nearest that it knows.
    """
    sigmas = row.generation.refine_sigmas
    return DenoisePlan(
        variant=variant,
        width=size.width,
        height=size.height,
        frames=frames,
        fps=conditioning_fps(fps),
        audio_latents=1,
        sigmas=sigmas,
        sampler="euler",
        eta=0.0,
        noise_scale=sigmas[0],
        video_guidance=GUIDANCE_OFF,
        audio_guidance=GUIDANCE_OFF,
        stg_blocks=(),
        adapters=adapters,
        conditions=(),
        sound="absent",
    )


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
