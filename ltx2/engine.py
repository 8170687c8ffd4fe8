"""The engine: a checkpoint's weights on a device, ready to run plans."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from loras import catalog
from loras.adapters import LoraMismatch
from ltx2.errors import BadRequest, ConfigError, GenerationFailed, OutOfMemory
from ltx2.progress import Listener, Progress, expected_work
from ltx2.request import Request
from ltx2.results import Result
from ltx2.session import counted, prepare
from ltx2.settings import Settings
from ltx2.weights import Resolved, lora_file, resolve
from pipelines.checkpoints.files import Weights, find
from pipelines.checkpoints.headers import CheckpointError
from pipelines.components import Components
from pipelines.models import Checkpoint
from pipelines.plan import Mode, Plan
from pipelines.prompts import DEFAULT_NEGATIVE
from pipelines.recipes import RECIPES
from pipelines.values import Clip, Inputs, NonFinite

if TYPE_CHECKING:
    from diffusers import LTX2ConditionPipeline

SMALL_WEIGHTS = 2 * 2**30  # bytes; below this both transformers are kept instead of one at a time


class Engine:
    """Runs plans on one checkpoint.

    Parts load when they are first used and stay: a second clip starts at once. `checkpoint` is the
    row that defaults come from, `reason` says why these weights were chosen, `limits` what this
    machine takes. Not for use from several threads at once.
    """

    def __init__(
        self, components: Components, *, checkpoint: Checkpoint, reason: str, settings: Settings
    ) -> None:
        self.components = components
        self.checkpoint = checkpoint
        self.reason = reason
        self.settings = settings
        self.limits = settings.limits()
        self.media_limits = settings.media_limits()

    @classmethod
    def load(
        cls,
        checkpoint: str = "auto",
        *,
        mode: Mode = "fast",
        device: str | None = None,
        dtype: torch.dtype | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """An engine for `checkpoint`.

        `checkpoint` is "auto", a name of the model table, a folder, a file or a hub repository.
        `device` defaults to the GPU where there is one; `dtype` to bfloat16 on a GPU and float32 on
        a CPU. `mode` decides which weights must be there; the other mode's load when they are asked
        for. Raises BadRequest for a checkpoint that does not exist and ConfigError for files that
        are missing.
        """
        settings = settings or Settings.from_env()
        return cls.open(
            resolve(checkpoint, settings, mode=mode), settings, device=device, dtype=dtype
        )

    @classmethod
    def open(
        cls,
        resolved: Resolved,
        settings: Settings,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """An engine for weights that were already found."""
        target = torch.device(
            device or settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        try:
            weights = find(resolved.path, resolved.row, text_encoder=resolved.text_encoder)
        except (CheckpointError, FileNotFoundError) as error:
            raise ConfigError(str(error)) from error
        components = Components(
            weights,
            device=target,
            dtype=dtype or default_dtype(target, settings),
            residency=settings.residency,
            keep_variants=weights.nbytes < SMALL_WEIGHTS,
            find_adapter=lambda source: adapter_file(source, weights, resolved.row, settings),
        )
        return cls(components, checkpoint=resolved.row, reason=resolved.reason, settings=settings)

    @property
    def pipe(self) -> "LTX2ConditionPipeline":
        """The distilled transformer and all else as a diffusers pipeline, for researchers."""
        return self.components.pipe("distilled")

    @property
    def encoder_options(self) -> dict[str, Any]:
        """How MP4s are encoded, from the settings."""
        return {"crf": self.settings.crf, "preset": self.settings.preset}

    def run(self, plan: Plan, inputs: Inputs, progress: Progress) -> Clip:
        """Run a plan.

        The clip's frames are decoded while they are read; errors surface there as they do here.
        """
        if missing := self.components.weights.missing(plan.mode):
            raise ConfigError(f"{plan.mode} needs files that are not there: {', '.join(missing)}")
        with translated(plan):
            clip = RECIPES[plan.task](self.components, plan, inputs, progress)
        clip.frames = _translated_frames(clip.frames, plan)
        return clip

    def run_warnings(self, plan: Plan) -> tuple[str, ...]:
        """What only the run could tell: prompts that were longer than the encoder reads."""
        prompts: dict[str, str | None] = {"prompt": plan.prompt}
        if plan.negative_prompt != DEFAULT_NEGATIVE:
            prompts["negative_prompt"] = plan.negative_prompt
        texts = {
            name: self.components.prompts.get(plan.base.variant, text)
            for name, text in prompts.items()
            if text is not None
        }
        return tuple(
            f"{name} was cut at {text.tokens} tokens"
            for name, text in texts.items()
            if text and text.truncated
        )

    def generate(self, request: Request, *, progress: Listener | None = None) -> Result:
        """A clip in memory.

        `progress` is called with an `ltx2.progress.Event` at each stage and step.
        """
        prepared = prepare(
            request, checkpoint=self.checkpoint, limits=self.limits, media=self.media_limits
        )
        report = Progress(progress)
        report.expect(expected_work(prepared.plan))
        clip = self.run(prepared.plan, prepared.inputs, report)
        with closing(clip.frames), report.stage("decode+encode", clip.chunks):
            frames = np.concatenate(list(counted(clip.frames, report)))
        return Result(
            plan=prepared.plan,
            frames=frames,
            audio=clip.audio,
            audio_sample_rate=clip.audio_sample_rate,
            timings=dict(report.timings),
            warnings=(*prepared.plan.warnings, *self.run_warnings(prepared.plan)),
        )


def default_dtype(device: torch.device, settings: Settings) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU.

    The models were trained in bfloat16; a CPU has no fast bfloat16.
    """
    if settings.dtype is not None:
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings.dtype]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def adapter_file(source: str, weights: Weights, row: Checkpoint, settings: Settings) -> Path:
    """The local file of a plan's adapter: the distilled LoRA, a catalogue entry or a path."""
    if source == "distilled":
        return weights.path("distilled_lora")
    try:
        entry = catalog.get(source, row.generation.name)
    except LookupError:
        return Path(source)
    candidates = [folder / entry.file for folder in (weights.root, weights.root / "loras")]
    candidates += [file] if (file := lora_file(entry.repository, entry.file, settings)) else []
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(
        f"the LoRA {source} needs {entry.file}, which is neither in {weights.root} nor in the hub's"
        f" cache; fetch it with: ltx2 download --checkpoint {row.name} --loras"
    )


@contextmanager
def translated(plan: Plan) -> Iterator[None]:
    """Errors of the lower layers as errors of this one."""
    try:
        yield
    except NonFinite as error:
        raise GenerationFailed(f"{error}; plan {plan.id}, seed {plan.seed}") from error
    except (CheckpointError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    except LoraMismatch as error:
        raise BadRequest(f"loras: {error}") from error
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{plan.width}x{plan.height} for {plan.duration:.1f} s does not fit the device's"
            " memory; a lower resolution or a shorter clip needs less"
        ) from error


def _translated_frames(frames: Generator[np.ndarray], plan: Plan) -> Generator[np.ndarray]:
    with translated(plan), closing(frames):
        yield from frames
