"""The flow of an existing video: probe, plan, run, encode with its own sound, deliver."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loras import catalog, headers
from ltx2.delivery import Delivery
from ltx2.errors import BadRequest, ConfigError
from ltx2.extent import Limits
from ltx2.media.encode import CopiedSound, write_mp4
from ltx2.media.video import VideoFacts, probe, read_frames
from ltx2.progress import Progress, counted, pass_work
from ltx2.results import Receipt, mp4_metadata
from ltx2.settings import Settings
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from ltx2.weights import catalogue_file
from pipelines.geometry import latent_frames, video_tokens
from pipelines.models import Checkpoint
from pipelines.plan import RestorePlan
from pipelines.values import Clip

if TYPE_CHECKING:
    import numpy as np

    from ltx2.engine import Engine

# In the metadata of Lightricks' IC-LoRAs: what they follow is that much smaller, and slower.
_REFERENCE, _SLOWER = "reference_downscale_factor", "reference_temporal_scale_factor"
MAX_DOWNSCALE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVideo:
    """A request that can no longer be refused: its plan and the source it reads."""

    plan: RestorePlan
    facts: VideoFacts
    generation_id: str | None = None


def restore(
    request: VideoRequest,
    *,
    engine: "Engine",
    deliver: Delivery,
    progress: Progress | None = None,
) -> Receipt:
    """From a video file to a delivered MP4 of it, detailed or upscaled.

    Frames are read, encoded, decoded and written in pieces: neither clip is ever whole in memory.
    Raises BadRequest, MediaRefused or TooLarge for what cannot be used and ConfigError for files
    that are missing.
    """
    prepared = prepare_video(
        request,
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        reference_downscale=detailer_downscale(
            engine.checkpoint, engine.components.weights.root, engine.settings
        )
        if request.details
        else None,
    )
    return execute_video(prepared, engine=engine, deliver=deliver, progress=progress or Progress())


def prepare_video(
    request: VideoRequest,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    facts: VideoFacts | None = None,
    reference_downscale: int | None = None,
) -> PreparedVideo:
    """Look into the file, unless its `facts` are known, and decide every number.

    Touches no weights and needs no torch.
    """
    facts = facts or probe(request.video)
    decided = plan_video(
        request, facts, checkpoint, limits=limits, reference_downscale=reference_downscale
    )
    return PreparedVideo(plan=decided, facts=facts, generation_id=request.generation_id)


def detailer_downscale(row: Checkpoint, root: Path, settings: Settings) -> int | None:
    """What the detailer's own file says of the reference it follows; None where it says nothing,
    and where there is no detailer for this checkpoint.

    Raises ConfigError where its file is not on this machine, cannot be read or says what cannot be
    done.
    """
    try:
        entry = catalog.get("detailer", row.generation.name)
    except LookupError:
        return None  # the planner's to refuse
    file = catalogue_file(entry, root, settings)
    if file is None:
        raise ConfigError(
            f"the detailer needs {entry.file}, which is neither in {root} nor in the hub's cache; "
            f"fetch it with: ltx2 download --checkpoint {row.name} --loras"
        )
    try:
        told = headers.metadata(file)
    except (ValueError, OSError) as error:
        raise ConfigError(f"the detailer's file {file} cannot be used: {error}") from error
    slower = told.get(_SLOWER)
    if slower is not None and _factor(slower) != 1:
        raise ConfigError(
            f"the detailer's file {file} follows a slower clip ({_SLOWER} {slower!r}); "
            "only 1 works here"
        )
    if (smaller := told.get(_REFERENCE)) is None:
        return None
    factor = _factor(smaller)
    if factor is None or not 1 <= factor <= MAX_DOWNSCALE:
        raise ConfigError(
            f"the detailer's file {file} has the {_REFERENCE} {smaller!r}; "
            f"a whole number from 1 to {MAX_DOWNSCALE} works"
        )
    return factor


def _factor(text: str) -> int | None:
    """The whole number that a file's text says, such as "2" or "2.0"; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def execute_video(
    prepared: PreparedVideo, *, engine: "Engine", deliver: Delivery, progress: Progress
) -> Receipt:
    """The second half of `restore`: run a prepared request and deliver its clip.

    Raises BadRequest, before anything runs, where the clip would replace the video it is made of.
    """
    facts = prepared.facts
    _refuse_overwriting(deliver.path(prepared.plan), facts.path)
    plan = engine.fitted(prepared.plan)
    adapters = [adapter for part in plan.passes.values() for adapter in part.adapters]
    matches = engine.lora_files.require(adapters, plan.variant)
    progress.expect(expected_work(plan))
    clip = run(engine, plan, read_frames(facts), progress)
    decoded = clip.frames
    weights = engine.components.rounded(plan.variant)
    with closing(decoded), progress.stage("decode+encode", clip.chunks):
        clip.frames = counted(decoded, progress)
        encoded = write_mp4(
            clip,
            deliver.path(plan),
            sound=copied_sound(facts) if plan.keep_audio else None,
            metadata=mp4_metadata(plan, weights),
            **engine.encoder_options,
        )
    return Receipt(
        plan=plan,
        encoded=encoded,
        delivered=deliver.hand_over(encoded),
        timings=dict(progress.timings),
        generation_id=prepared.generation_id,
        warnings=(*_run_warnings(engine, plan), *clip.warnings),
        matches=matches,
        weights=weights,
        source=source_facts(facts),
    )


def _refuse_overwriting(target: Path, video: Path) -> None:
    """The source is never written over: a result that is not liked would leave nothing."""
    if target.exists() and video.exists() and target.samefile(video):
        raise BadRequest(f"{target} is the video itself; name another file for the result")


def run(
    engine: "Engine",
    plan: RestorePlan,
    frames: "Generator[np.ndarray]",
    progress: Progress,
) -> Clip:
    """Run a plan over a source's frames; the clip's frames are decoded while they are read."""
    from ltx2.engine import translated
    from pipelines.recipes import video_to_video

    with translated(plan):
        clip = video_to_video.run(engine.components, plan, frames, progress)

    def decoded(chunks: "Generator[np.ndarray]" = clip.frames) -> "Generator[np.ndarray]":
        with translated(plan), closing(chunks):
            yield from chunks

    clip.frames = decoded()
    return clip


def copied_sound(facts: VideoFacts) -> CopiedSound:
    """The source's sound as the encoder takes it over."""
    return CopiedSound(path=facts.path, sample_rate=facts.audio[0].sample_rate, delay=facts.delay)


def source_facts(facts: VideoFacts) -> dict[str, Any]:
    """What the result says of the source."""
    return {
        "sha256": facts.sha256,
        "width": facts.width,
        "height": facts.height,
        "frame_rate": str(facts.rate),
        "num_frames": facts.frames,
        "duration": float(facts.duration),
        "codec": facts.codec,
        "audio_codecs": [track.codec for track in facts.audio],
    }


def expected_work(plan: RestorePlan) -> dict[str, float]:
    """Rough shares of the stages, in the unit of `ltx2.progress.expected_work`."""
    source = plan.source
    frames = max((part.frames for part in plan.passes.values()), default=plan.num_frames)
    size = next(iter(plan.passes.values()), None)
    made = (size.width, size.height) if size else (plan.width, plan.height)
    whole = latent_frames(plan.num_frames + 7)
    work = {
        "encode": 2.0
        * video_tokens(source.padded_width, source.padded_height, source.padded_frames)
    }
    if plan.passes:
        work["prompt"] = 2e3
    if plan.upscalers:
        work["upsample"] = 1e3 * len(plan.upscalers)
    for name, window in (("refine", plan.refine), ("detail", plan.detail)):
        if window is not None:
            work[name] = len(window.spans(whole)) * pass_work(window.denoise)
    work["decode+encode"] = 3.0 * video_tokens(*made, max(frames, plan.num_frames))
    return work


def _run_warnings(engine: "Engine", plan: RestorePlan) -> tuple[str, ...]:
    """What only the run could tell: a prompt that was too long, and weights that were rounded."""
    part = plan.refine
    text = part and engine.components.known_text(plan.variant, part.prompt, part.denoise.adapters)
    cut = (f"prompt was cut at {text.tokens} tokens",) if text and text.truncated else ()
    return (*cut, *engine.components.rounding(plan.variant))
