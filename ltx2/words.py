"""What a request leaves to the model: its prompt rewritten, and the length that this asks for.

Both are decided before the plan, from which the clip follows. No torch until `settle` runs a model.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltx2.adapters import choose_adapters
from ltx2.errors import ConfigError, GenerationFailed, Ltx2Error
from ltx2.extent import Limits, combined
from ltx2.request import MAX_SECONDS, Request, asked_pictures
from pipelines.checkpoints.enhancer_files import enhancer_files
from pipelines.checkpoints.headers import CheckpointError
from pipelines.geometry import TEMPORAL, frames_for, pixel_frames, snap_frames, video_tokens
from pipelines.models import Checkpoint
from pipelines.plan import Plan
from pipelines.values import Inputs, Progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from ltx2.engine import Engine
    from pipelines.checkpoints.files import Weights

MIN_SECONDS = 1.0  # of a predicted length, by the reference; the longest is MAX_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A request that leaves nothing to the model, its seed included, and what to tell of it."""

    request: Request
    warnings: tuple[str, ...] = ()


def needs_words(request: Request, row: Checkpoint) -> bool:
    """Whether the prompt or the length of a request is decided by a model before the plan."""
    return request.enhance_prompt or asks_no_length(request, row)


def asks_no_length(request: Request, row: Checkpoint) -> bool:
    """Whether the length is the model's to predict: none is asked for, and no picture has a moment
    that depends on it.
    """
    asked = request.duration is not None or request.num_frames is not None
    placed = bool(request.keyframes) or request.last_image is not None
    return row.generation.duration_head and not asked and not placed


def forecast(request: Request, row: Checkpoint) -> tuple[str, ...]:
    """What a plan that is made without the model must say of itself."""
    told: list[str] = []
    if request.enhance_prompt:
        told.append(
            "enhance_prompt: the prompt is rewritten when the clip is made, which changes the "
            "plan's id"
        )
    if asks_no_length(request, row):
        told.append(
            f"duration: none is asked for, so the length is predicted from the prompt when the clip"
            f" is made; this plan has the default, {row.seconds:g} s"
        )
    return tuple(told)


def refusals(request: Request, row: Checkpoint, weights: "Weights") -> list[Ltx2Error]:
    """Why these weights cannot do what the request leaves to them, from file names and headers."""
    if not request.enhance_prompt:
        return []
    part = row.generation.enhancer.part
    if not weights.has(part):
        repository = row.files.enhancer_repository or row.files.text_encoder_repository
        return [
            ConfigError(
                f"enhance_prompt: {row.name} rewrites prompts with {repository}, which is not on "
                f"this machine; fetch it with: ltx2 download --checkpoint {row.name}, or leave "
                "enhance_prompt out"
            )
        ]
    try:
        files = enhancer_files(weights)
    except CheckpointError as error:
        return [ConfigError(f"enhance_prompt: {error}")]
    if files.pictures is None and asked_pictures(request):
        return [
            ConfigError(
                f"enhance_prompt: {files.model} sees no pictures (it has no vision tower or no "
                "preprocessor_config.json); fetch the whole folder, or leave out enhance_prompt or "
                "the picture"
            )
        ]
    return []


def settle(
    request: Request, engine: "Engine", *, plan: Plan, inputs: Inputs, progress: Progress
) -> Settled:
    """Run the models that a request leaves its prompt and its length to.

    `plan` and `inputs` are those of the request as it stands: of them come the seed, the size and
    the pictures. The answer has the seed and, where they were left open, the prompt and
    `num_frames`; planned again it is the clip. Raises ConfigError for models that are not there,
    GenerationFailed for an answer that is no prompt or no length, OutOfMemory.
    """
    row, components = engine.checkpoint, engine.components
    if refused := refusals(request, row, components.weights):
        raise combined(refused)
    settled = request.model_copy(update={"seed": plan.seed})
    warnings: list[str] = []
    if request.enhance_prompt:
        from pipelines.stages.enhance import enhance

        steps = row.generation.enhancer.new_tokens
        with translated(plan.seed), progress.stage("enhance", steps):
            text = enhance(
                components,
                request.prompt,
                seed=plan.seed,
                picture=first_picture(plan, inputs.images),
                progress=progress,
            )
        settled = settled.model_copy(update={"prompt": text, "enhance_prompt": False})
        warnings.append("enhance_prompt: the prompt was rewritten")
    if asks_no_length(settled, row):
        frames, told = _length(settled, engine, plan, progress)
        settled = settled.model_copy(update={"num_frames": frames})
        warnings.append(told)
    return Settled(request=settled, warnings=tuple(warnings))


def _length(request: Request, engine: "Engine", plan: Plan, progress: Progress) -> tuple[int, str]:
    """The frames of a clip as long as its prompt asks for, and a sentence about it."""
    row, components, fps = engine.checkpoint, engine.components, request.fps
    if not components.weights.has("duration_head"):
        return frames_for(row.seconds, fps), (
            f"duration: the checkpoint has no duration head ({row.files.duration_head}), so the "
            f"clip has the default of {row.seconds:g} s"
        )
    from pipelines.stages.duration import predict_seconds

    with translated(plan.seed), progress.stage("duration"):
        seconds = predict_seconds(
            components,
            choose_adapters(request, row).prompt,
            plan.base.variant,
            plan.base.adapters,
        )
    longest = longest_seconds(request, plan, engine.limits)
    frames = predicted_frames(seconds, fps, longest)
    told = f"duration: {seconds:.1f} s were predicted from the prompt"
    if not MIN_SECONDS <= seconds <= longest:
        bounds = f"{MIN_SECONDS:g} to {longest:g} s" if longest > MIN_SECONDS else f"{longest:g} s"
        told += f"; the clip has {frames / fps:.1f} s, as {bounds} can be made here"
    return frames, told


def longest_seconds(request: Request, plan: Plan, limits: Limits) -> float:
    """How long a clip of the plan's size may be on this worker, in seconds."""
    longest = min(limits.max_seconds, float(MAX_SECONDS))
    if limits.max_tokens is None:
        return longest
    latents = limits.max_tokens // video_tokens(plan.width, plan.height, 1)
    share = 2 if request.temporal_upscaler else 1
    return min(longest, (pixel_frames(latents) - 1) / (share * request.fps))


def predicted_frames(seconds: float, fps: int, longest: float) -> int:
    """A predicted length in frames, 8k + 1, by the reference: clamped to MIN_SECONDS and `longest`
    seconds, then down to the grid, or up where that would be too short. Never above `longest`.
    """
    least, most = max(1, round(MIN_SECONDS * fps)), round(longest * fps)
    frames = snap_frames(max(least, min(round(seconds * fps), most)))
    if frames < least:
        frames += TEMPORAL
    return min(frames, frames_for(longest, fps))


def first_picture(plan: Plan, images: "Mapping[str, Image]") -> "Image | None":
    """The picture that the language model is shown: the earliest that the plan uses."""
    placed = sorted(plan.base.conditions, key=lambda condition: condition.frame)
    return images[placed[0].image] if placed else None


@contextmanager
def translated(seed: int) -> Iterator[None]:
    """Errors of the lower layers as errors of this one."""
    from ltx2.faults import faults
    from pipelines.stages.enhance import NothingWritten
    from pipelines.values import NonFinite

    full = (
        "the language model does not fit the device's memory beside what is there; leave "
        "enhance_prompt out and ask for a duration"
    )
    try:
        with faults(full):
            yield
    except NothingWritten as error:
        raise GenerationFailed(
            f"enhance_prompt: {error}, seed {seed}; try another seed or leave enhance_prompt out"
        ) from error
    except NonFinite as error:
        raise GenerationFailed(f"{error}; ask for a duration instead") from error
    except (CheckpointError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
