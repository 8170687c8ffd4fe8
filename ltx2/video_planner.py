"""The planner of existing videos: from a request and a source's facts to a plan. No torch."""

import math
import secrets
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from loras import catalog
from ltx2.errors import BadRequest, TooLarge
from ltx2.extent import (
    OVERLAP_FRAMES,
    TILE_FRAMES,
    Limits,
    Notes,
    decode_tiles,
)
from ltx2.passes import DISTILLED_LORA, SEEDS, detail_pass
from ltx2.request import MAX_SECONDS
from ltx2.video_request import SPATIAL, VideoRequest
from pipelines.geometry import (
    SPATIAL as CELL,
)
from pipelines.geometry import (
    TEMPORAL,
    Size,
    conditioning_fps,
    frames_for,
    latent_frames,
    pixel_frames,
    video_tokens,
)
from pipelines.models import CHECKPOINTS, Checkpoint
from pipelines.plan import (
    GUIDANCE_OFF,
    DecodePlan,
    DenoisePlan,
    RestorePlan,
    Source,
    WindowPlan,
)
from pipelines.sigmas import REFINE

if TYPE_CHECKING:
    from ltx2.media.video import VideoFacts

MIN_EDGE = 32  # pixels, one latent cell
SLOWEST, FASTEST = 4, 120  # frames a second that a source may have
TRAINED_FROM, TRAINED_TO = 20, 61  # frames a second; outside, the model has hardly seen a clip
# Windows of the encoder: twice the decoder's, and a run-up after which a window cannot be told
# from the whole; see docs/numerics.md.
ENCODE_FRAMES, RUN_UP = 2 * TILE_FRAMES, 2 * OVERLAP_FRAMES + TEMPORAL
ENCODE_OVERLAP = 128  # pixels
# Latent frames that neighbouring windows of the refine pass share, and how firmly a window is
# guided by them; see docs/numerics.md.
REFINE_OVERLAP, REFINE_HOLD = 4, 1.0


def plan_video(
    request: VideoRequest,
    facts: "VideoFacts",
    row: Checkpoint,
    *,
    limits: Limits,
    reference_downscale: int | None = None,
) -> RestorePlan:
    """Decide every number. Equal requests with a seed on equal files give equal plans.

    `reference_downscale` is what the detailer's file says; None takes the catalogue's. Raises
    BadRequest or TooLarge with every refusal.
    """
    notes = Notes()
    shrink = _shrink(request, row, reference_downscale, notes)
    _check_upscalers(request, row, notes)
    _check_source(request, facts, limits, notes)
    scale = Fraction(request.spatial if request.task == "upscale" else 1)
    double = 2 if "temporal_upscaler" in request.upscalers else 1
    size = _result_size(facts, scale, limits, notes)
    grid = _grid(scale, shrink)
    source = Source(
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        rate=str(facts.rate),
        padded_width=-(-facts.width // grid) * grid,
        padded_height=-(-facts.height // grid) * grid,
        padded_frames=-(-(facts.frames - 1) // TEMPORAL) * TEMPORAL + 1,
    )
    made = Size(int(source.padded_width * scale), int(source.padded_height * scale))
    frames, rate = double * (source.padded_frames - 1) + 1, double * facts.rate
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
    refine = None
    if request.refines:
        refine = _refine(request, made, frames, rate, seed, limits, notes)
    notes.raise_refusals()
    _warn(request, facts, rate, notes)
    detail = None
    if request.details:
        detail = detail_pass(
            row,
            variant="distilled" if request.model == "fast" else "dev",
            size=made,
            frames=frames,
            fps=float(rate),
            seed=seed,
            strength=request.strength,
            reference_downscale=reference_downscale,
        )
    return RestorePlan(
        task=request.task,
        mode=request.model,
        checkpoint=row.name,
        generation=row.generation.name,
        prompt=request.prompt.strip(),
        seed=seed,
        source=source,
        encode=_encode_tiles(Size(source.padded_width, source.padded_height)),
        upscalers=request.upscalers,
        refine=refine,
        detail=detail,
        decode=decode_tiles(made),
        width=size.width,
        height=size.height,
        num_frames=double * facts.frames,
        rate=str(rate),
        keep_audio=request.audio and bool(facts.audio),
        metadata=request.metadata,
        snaps=tuple(notes.snaps),
        warnings=tuple(notes.warnings),
    )


def _shrink(
    request: VideoRequest, row: Checkpoint, reference_downscale: int | None, notes: Notes
) -> int:
    """How much smaller than the clip what the detailer follows is."""
    if not request.details:
        return 1
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


def _check_upscalers(request: VideoRequest, row: Checkpoint, notes: Notes) -> None:
    if "spatial_upscaler_x1.5" in request.upscalers and row.files.spatial_upscaler_x1_5 is None:
        having = [each.name for each in CHECKPOINTS.values() if each.files.spatial_upscaler_x1_5]
        notes.refusals.append(
            BadRequest(
                f"{row.name} has no spatial upscaler of 1.5, only one of 2 and a temporal one; "
                f"1.5 is there for {', '.join(having)}"
            )
        )


def _check_source(request: VideoRequest, facts: "VideoFacts", limits: Limits, notes: Notes) -> None:
    """What of the file cannot be used."""
    if min(facts.width, facts.height) < MIN_EDGE:
        notes.refusals.append(
            BadRequest(
                f"the video has {facts.width}x{facts.height} pixels; at least {MIN_EDGE} along "
                "each edge are needed"
            )
        )
    if not SLOWEST <= facts.rate <= FASTEST:
        notes.refusals.append(
            BadRequest(
                f"the video has {float(facts.rate):g} frames a second; {SLOWEST} to {FASTEST} work"
            )
        )
    if facts.duration > limits.max_video_seconds:
        notes.refusals.append(
            TooLarge(
                f"the video plays {float(facts.duration):.1f} s, this worker takes "
                f"{limits.max_video_seconds:g} s: cut it into pieces"
            )
        )
    if request.audio and facts.uncopied:
        notes.refusals.append(
            BadRequest(
                f"the video's sound is {' and '.join(facts.uncopied)}, which an MP4 does not hold: "
                "convert it to AAC first, or leave the sound away with --no-audio"
            )
        )


def _result_size(facts: "VideoFacts", scale: Fraction, limits: Limits, notes: Notes) -> Size:
    """The frame of the result, even along both edges as H.264 has it."""
    exact = Size(int(facts.width * scale), int(facts.height * scale))
    size = Size(exact.width // 2 * 2, exact.height // 2 * 2)
    notes.snap("width", exact.width, size.width)
    notes.snap("height", exact.height, size.height)
    pixels = size.width * size.height
    if pixels > limits.max_pixels:
        largest = facts.width * facts.height * limits.max_pixels / pixels
        fits = math.sqrt(largest / (facts.width * facts.height))
        source = f"{int(facts.width * fits)}x{int(facts.height * fits)}"
        smaller = f"; {_factors_that_fit(facts, scale, limits)}" if scale > 1 else ""
        notes.refusals.append(
            TooLarge(
                f"{size} has {pixels:,} pixels a frame, this worker takes {limits.max_pixels:,}: "
                f"a source of {source} fits{smaller}"
            )
        )
    return size


def _factors_that_fit(facts: "VideoFacts", scale: Fraction, limits: Limits) -> str:
    pixels = facts.width * facts.height
    fits = [f for f in SPATIAL if f < scale and pixels * f * f <= limits.max_pixels]
    return f"or --spatial {fits[0]:g}" if fits else "no smaller factor does"


def _grid(scale: Fraction, shrink: int) -> int:
    """Pixels of the source's grid on which every latent that is made of it is whole."""
    grid = CELL
    while (grid // CELL * scale) % shrink:
        grid += CELL
    return grid


def _encode_tiles(size: Size) -> DecodePlan:
    """The decoder's tiles with wider seams, and longer windows."""
    return replace(
        decode_tiles(size),
        overlap=ENCODE_OVERLAP,
        tile_height=max(decode_tiles(size).tile_height, 2 * ENCODE_OVERLAP),
        tile_width=max(decode_tiles(size).tile_width, 2 * ENCODE_OVERLAP),
        tile_frames=ENCODE_FRAMES,
        overlap_frames=RUN_UP,
    )


def _refine(
    request: VideoRequest,
    size: Size,
    frames: int,
    rate: Fraction,
    seed: int,
    limits: Limits,
    notes: Notes,
) -> WindowPlan:
    """The refine pass: the end of the distilled schedule, unguided, without sound.

    In one window where the clip fits what the model and this worker take, else in several of even
    length.
    """
    told = conditioning_fps(float(rate))
    length, overlap = _windows(size, latent_frames(frames), told, limits, notes)
    return WindowPlan(
        denoise=DenoisePlan(
            variant="distilled" if request.model == "fast" else "dev",
            width=size.width,
            height=size.height,
            frames=pixel_frames(length),
            fps=told,
            audio_latents=1,
            sigmas=REFINE,
            sampler="euler",
            eta=0.0,
            noise_scale=REFINE[0],
            video_guidance=GUIDANCE_OFF,
            audio_guidance=GUIDANCE_OFF,
            stg_blocks=(),
            adapters=() if request.model == "fast" else (DISTILLED_LORA,),
            conditions=(),
            sound="absent",
        ),
        prompt=request.prompt.strip(),
        seed=seed,
        latents=length,
        overlap=overlap,
        hold=REFINE_HOLD,
    )


def _windows(
    size: Size, latents: int, told: float, limits: Limits, notes: Notes
) -> tuple[int, int]:
    """Latent frames of a window, and of what it shares with its neighbour: 0 where one does."""
    longest = latent_frames(frames_for(min(MAX_SECONDS, limits.max_seconds), told))
    if limits.max_tokens is not None:
        # What a window is guided by counts as well.
        fitting = limits.max_tokens // video_tokens(*size, 1)
        longest = min(longest, fitting if fitting >= latents else fitting - REFINE_OVERLAP)
    if latents <= longest:
        return latents, 0
    if longest <= REFINE_OVERLAP:
        notes.refusals.append(
            TooLarge(
                f"{size} is too large for the refine pass on this worker: a window would hold "
                f"{max(0, longest)} latent frames of the {REFINE_OVERLAP + 1} it needs; "
                "a smaller video or --no-refine fits"
            )
        )
        return latents, 0
    count = -(-(latents - REFINE_OVERLAP) // (longest - REFINE_OVERLAP))
    return -(-(latents + (count - 1) * REFINE_OVERLAP) // count), REFINE_OVERLAP


def _warn(request: VideoRequest, facts: "VideoFacts", rate: Fraction, notes: Notes) -> None:
    """What works but may not be meant."""
    if facts.variable:
        notes.warnings.append(
            f"the video's frames are not evenly spaced: evened out to {facts.rate} a second"
        )
    if facts.interlaced:
        notes.warnings.append(
            "the video is interlaced: its lines are taken as whole pictures; deinterlace it first"
        )
    told = conditioning_fps(float(rate))
    if (request.refines or request.details) and not TRAINED_FROM <= rate <= TRAINED_TO:
        notes.warnings.append(
            f"the model knows 24 to 60 frames a second, not {float(rate):g}"
            + (f", and is told {told:g}" if rate > TRAINED_TO else "")
            + ": motion may look unlike the source's"
        )
