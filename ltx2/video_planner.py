"""The planner of existing videos: from a request and a source's facts to a plan. No torch."""

import math
import secrets
from fractions import Fraction
from typing import TYPE_CHECKING

from ltx2.errors import BadRequest, TooLarge
from ltx2.extent import Limits, Notes, decode_tiles, encode_tiles
from ltx2.passes import (
    SEEDS,
    WINDOW,
    check_detail,
    detail_pass,
    distilled_lora,
    followed,
    silent_refine,
)
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
    RestorePlan,
    Source,
    WindowPlan,
)

if TYPE_CHECKING:
    from ltx2.media.video import VideoFacts

MIN_EDGE = 32  # pixels, one latent cell
SLOWEST, FASTEST = 4, 120  # frames a second that a source may have
TRAINED_FROM = 20  # frames a second; the model has hardly seen slower clips
TOLD_OFF = 0.01  # share by which the rate that the model is told may be off without a word
LEAST_DETAIL = 4  # latent frames, by Lightricks' graph of the detailer
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
    shrink = followed(row, reference_downscale, notes) if request.details else 1
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
        refine = _refine(request, row, made, frames, rate, seed, limits, notes)
    if request.details:
        check_detail(made, frames, shrink, limits, notes)
    notes.raise_refusals()
    _warn(request, facts, frames, rate, notes)
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
        encode=encode_tiles(Size(source.padded_width, source.padded_height)),
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
                "convert it to AAC first, or set audio to false (--no-audio)"
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
    return f"or spatial {fits[0]:g} does" if fits else "no smaller factor does"


def _grid(scale: Fraction, shrink: int) -> int:
    """Pixels of the source's grid on which every latent that is made of it is whole."""
    grid = CELL
    while (grid // CELL * scale) % shrink:
        grid += CELL
    return grid


def _refine(
    request: VideoRequest,
    row: Checkpoint,
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
        denoise=silent_refine(
            row,
            "distilled" if request.model == "fast" else "dev",
            size,
            pixel_frames(length),
            float(rate),
            () if request.model == "fast" else (distilled_lora(row),),
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
    seconds = min(float(MAX_SECONDS), limits.max_seconds)
    longest = latent_frames(frames_for(seconds, told))
    # The latents of the window before lie in the place of a window's own: they add no token.
    fitting = longest if limits.max_tokens is None else limits.max_tokens // video_tokens(*size, 1)
    window = min(longest, fitting)
    if latents <= window:
        return latents, 0
    least = min(latents, REFINE_OVERLAP + 1)
    if longest < least:
        notes.refusals.append(
            TooLarge(
                f"the refine pass needs windows of at least {pixel_frames(least) / told:.1f} s, "
                f"this worker takes {limits.max_seconds:g} s: set refine to false (--no-refine)"
            )
        )
    if limits.max_tokens is not None and fitting < least:
        notes.refusals.append(
            TooLarge(
                f"{size} is too large for the refine pass: {fitting} of the {least} latent frames "
                f"that a window needs are within the {limits.max_tokens:,} video tokens that this "
                "worker takes; a smaller video fits, or refine set to false (--no-refine)"
            )
        )
    if window < least:
        return latents, 0
    count = -(-(latents - REFINE_OVERLAP) // (window - REFINE_OVERLAP))
    return -(-(latents + (count - 1) * REFINE_OVERLAP) // count), REFINE_OVERLAP


def _warn(
    request: VideoRequest, facts: "VideoFacts", frames: int, rate: Fraction, notes: Notes
) -> None:
    """What works but may not be meant. `frames` and `rate` are those that the model sees."""
    if facts.variable:
        notes.warnings.append(
            f"the video's frames are not evenly spaced: evened out to {facts.rate} a second"
        )
    if facts.interlaced:
        notes.warnings.append(
            "the video is interlaced: its lines are taken as whole pictures; deinterlace it first"
        )
    if not (request.refines or request.details):
        return
    told = conditioning_fps(float(rate))
    off = abs(told / float(rate) - 1) > TOLD_OFF
    if off or rate < TRAINED_FROM:
        notes.warnings.append(
            f"the model knows 24, 25, 30 and 60 frames a second, not {float(rate):g}"
            + (f", and is told {told:g}" if off else "")
            + ": motion may look unlike the source's"
        )
    if request.details and latent_frames(frames) < LEAST_DETAIL:
        notes.warnings.append(
            f"{frames} frames are few for the detailer, which knows stretches of "
            f"{pixel_frames(LEAST_DETAIL)} to {pixel_frames(WINDOW)}: it may change more than it "
            "should"
        )
