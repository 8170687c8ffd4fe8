"""The engine: a checkpoint's weights on a device, ready to run plans."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ltx2.collector import at_rest

with at_rest():
    import numpy as np
    import torch

    from loras.adapters import LoraMismatch
    from ltx2.errors import ConfigError, GenerationFailed
    from ltx2.faults import faults
    from ltx2.fit import RESIDENCIES, Decision, Fit, find_residency, fit_for, make_room, room_for
    from ltx2.levers import levers_for
    from ltx2.lora_files import LoraFiles, adapter_file, refusal_of
    from ltx2.lora_sources import LoraSources
    from ltx2.prepare import prepare
    from ltx2.progress import Listener, Progress, counted, expected_work
    from ltx2.request import Request
    from ltx2.results import Result
    from ltx2.room import Room
    from ltx2.second_try import tried_twice
    from ltx2.session import complete
    from ltx2.settings import Settings
    from ltx2.video_session import detailer_downscale
    from ltx2.weights import Resolved, note, parts_for, resolve
    from pipelines.checkpoints.files import find
    from pipelines.checkpoints.headers import CheckpointError
    from pipelines.checkpoints.load import refuse_twice
    from pipelines.components import Components
    from pipelines.memory import heap
    from pipelines.models import Checkpoint
    from pipelines.plan import Mode, Plan, RestorePlan
    from pipelines.prompts import DEFAULT_NEGATIVE
    from pipelines.recipes import RECIPES
    from pipelines.residency import home
    from pipelines.speed.choice import said, said_of
    from pipelines.values import Clip, Inputs, NonFinite

if TYPE_CHECKING:
    from diffusers import LTX2ConditionPipeline

logger = logging.getLogger(__name__)
AnyPlan = TypeVar("AnyPlan", Plan, RestorePlan)

SMALL_WEIGHTS = 2 * 2**30  # bytes; below this both transformers are kept instead of one at a time


class Engine:
    """Runs plans on one checkpoint.

    Parts load when they are first used and stay: a second clip starts at once. `checkpoint` is the
    row that defaults come from, `reason` says why these weights were chosen, `residency_reason` why
    their parts live where they do, `limits` what this machine takes. `on_decision` is called with
    how each plan runs, before it does. Not for use from several threads at once.
    """

    def __init__(
        self,
        components: Components,
        *,
        checkpoint: Checkpoint,
        reason: str,
        residency_reason: str,
        settings: Settings,
        fit: Fit | None = None,
    ) -> None:
        self.components = components
        self.checkpoint = checkpoint
        self.reason = reason
        self.residency_reason = residency_reason
        self.on_decision: Callable[[Decision], object] | None = None
        self.settings = settings
        self.fit = fit or fit_for(components, checkpoint)
        self.limits = settings.limits()
        self.media_limits = settings.media_limits()

    @classmethod
    def load(
        cls,
        checkpoint: str | None = None,
        *,
        mode: Mode = "fast",
        spatial_upscaler: bool = True,
        temporal_upscaler: bool = False,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        quantise: str | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """An engine for `checkpoint`.

        `checkpoint` is "auto", a name of the model table, a folder, a file or a hub repository;
        None leaves it to the settings. What it became is logged, as a warning where "auto" chose or
        where it is the embedded toy. `device` defaults to the GPU where there is one; `dtype` to
        bfloat16 on a GPU and float32 on a CPU. `mode` and the upscalers decide which weights
        must be there; others load when they are asked for. `quantise` "fp8" or "int8" rounds the
        weights of transformer and text encoder as they load, "none" neither; None leaves it to the
        settings. Raises BadRequest for a checkpoint that does not exist and ConfigError for files
        that are missing or a device that is not there.
        """
        settings = settings or Settings.from_env()
        if quantise is not None:
            settings = settings.quantised(quantise)
        wanted = checkpoint or settings.checkpoint
        parts = parts_for(spatial_upscaler=spatial_upscaler, temporal_upscaler=temporal_upscaler)
        resolved = resolve(wanted, settings, mode=mode, parts=parts)
        chosen = wanted == "auto"
        logger.log(
            logging.WARNING if chosen or resolved.embedded else logging.INFO,
            "checkpoint %s%s: %s%s",
            resolved.name,
            " (auto)" if chosen else "",
            resolved.reason,
            "" if (told := note(resolved.row)) is None else f"; {told}",
        )
        return cls.open(resolved, settings, device=device, dtype=dtype)

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
        target = find_device(device or settings.device)
        try:
            weights = find(
                resolved.path,
                resolved.row,
                text_encoder=resolved.text_encoder,
                enhancer=resolved.enhancer,
                transformer=resolved.transformer,
            )
            for variant in ("distilled", "dev"):
                refuse_twice(weights, variant, settings.transformer_quantisation)
        except (CheckpointError, FileNotFoundError) as error:
            raise ConfigError(str(error)) from error
        dtype = dtype or default_dtype(target, settings)
        components = Components(
            weights,
            device=target,
            dtype=dtype,
            keep_variants=weights.nbytes < SMALL_WEIGHTS,
            find_adapter=lambda adapter: adapter_file(adapter, weights, resolved.row, settings),
            quantise={
                "transformer": settings.transformer_quantisation,
                "text_encoder": settings.text_encoder_quantisation,
            },
            levers=levers_for(settings, target, dtype),
        )
        logger.info("passes are computed by %s", said_of(components.levers, target))
        told = settings.residency
        fit = fit_for(components, resolved.row, RESIDENCIES if told is None else (told,))
        room = room_for(components, settings.device_memory)
        try:
            residency, reason = find_residency(fit, weights, resolved.row, room, told)
        except CheckpointError as error:
            raise ConfigError(str(error)) from error
        logger.info("parts are %s: %s", residency, reason)
        components.live_as(residency)
        return cls(
            components,
            checkpoint=resolved.row,
            reason=resolved.reason,
            residency_reason=reason,
            settings=settings,
            fit=fit,
        )

    @property
    def pipe(self) -> "LTX2ConditionPipeline":
        """The distilled transformer and all else as a diffusers pipeline, for researchers."""
        return self.components.pipe("distilled")

    @property
    def levers(self) -> dict[str, str | int]:
        """How passes are computed on this device, as settled: for cards and reports."""
        return said(self.components.levers, self.components.device)

    def own_process(self) -> bool:
        """Let what passes free stay with this process, which must be there for this engine alone:
        it changes how everything in the process is given memory, to its end. Whether it does.

        For programs like `ltx2` itself and its workers; in others only `LTX2_FREED_MEMORY=kept`
        does it. Nothing changes on a GPU or where the setting is `returned`.
        """
        wanted = heap.settled(self.components.levers.freed_memory, self.components.device)
        kept = wanted == "kept" and heap.keep_freed_memory()
        logger.info("memory that passes free is %s", "kept" if kept else "returned")
        return kept

    @property
    def encoder_options(self) -> dict[str, Any]:
        """How MP4s are encoded, from the settings."""
        return {"crf": self.settings.crf, "preset": self.settings.preset}

    @property
    def lora_files(self) -> LoraFiles:
        """Where this checkpoint's LoRAs lie and what they must fit."""
        return LoraFiles.of(self.components.weights, self.checkpoint, self.settings)

    @property
    def lora_sources(self) -> LoraSources:
        """Where LoRAs by URL and repository come from and are kept."""
        return self.settings.lora_sources()

    def detailer_downscale(self) -> int | None:
        """What the detailer's own file says of the reference it follows; raises ConfigError."""
        return detailer_downscale(self.checkpoint, self.components.weights.root, self.settings)

    def run(
        self, plan: Plan, inputs: Inputs, progress: Progress, decision: Decision | None = None
    ) -> Clip:
        """Run a plan, in the way that was decided or as it fits.

        The clip's frames are decoded while they are read; errors surface there as they do here.
        """
        plan = self.fitted(plan) if decision is None else self.placed(decision)
        with translated(plan):
            parts = needed_parts(plan, self.components)
            with progress.stage("load", len(parts)):
                for name in parts:
                    self.components.part(name)
                    progress.step()
            clip = RECIPES[plan.task](self.components, plan, inputs, progress)
        clip.frames = _translated_frames(clip.frames, plan)
        return clip

    def check_fits(self, plan: Plan | RestorePlan) -> Decision:
        """How a plan runs in the memory there is; nothing is loaded or moved.

        Raises ConfigError for files that are missing and TooLarge, with what would fit, for a plan
        that fits in no way.
        """
        if missing := self.components.weights.missing(plan.mode, plan.wanted_parts):
            raise ConfigError(f"{plan.mode} needs files that are not there: {', '.join(missing)}")
        with translated(plan):
            return self.fit.decide(plan, self.room())

    def fitted(self, plan: AnyPlan) -> AnyPlan:
        """The plan as it runs here, its tiles smaller where they must be, and the parts placed for
        it. Raises as `check_fits`.
        """
        return self.placed(self.check_fits(plan))

    def placed(self, decision: Decision) -> Any:  # noqa: ANN401 - the decision's kind of plan
        """The plan of a decision, with the parts placed for it."""
        if self.on_decision is not None:
            self.on_decision(decision)
        if decision.residency != self.components.residency:
            logger.info("parts are now %s: %s", decision.residency, decision.reason)
            self.components.live_as(decision.residency)
        make_room(self.components, decision, self.room())
        return decision.plan

    def room(self) -> Room:
        """What a run may take here, of which the parts that are loaded are a part."""
        return room_for(self.components, self.settings.device_memory)

    def let_go(self, *, parts: bool = False) -> None:
        """Free what a run has left behind: LoRAs, and every loaded part where `parts` says so."""
        with faults("what was left of a run could not be freed"):
            if parts:
                for name in self.components.held:
                    self.components.drop(name)
            self.components.drop_adapters()

    def preload(self, modes: Sequence[Mode] = ("fast",)) -> dict[str, float]:
        """Load what a clip of these modes uses, as far as it stays; see `ltx2.preload`."""
        from ltx2.preload import preload

        return preload(self, modes)

    def warm(self, mode: Mode = "fast") -> float:
        """Make the smallest clip and throw it away; see `ltx2.preload`."""
        from ltx2.preload import warm

        return warm(self, mode)

    def run_warnings(self, plan: Plan) -> tuple[str, ...]:
        """What only the run could tell: prompts that were longer than the encoder reads, and
        weights that were rounded.
        """
        prompts: dict[str, str | None] = {"prompt": plan.prompt}
        if plan.negative_prompt != DEFAULT_NEGATIVE:
            prompts["negative_prompt"] = plan.negative_prompt
        texts = {
            name: self.components.known_text(plan.base.variant, text, plan.base.adapters)
            for name, text in prompts.items()
            if text is not None
        }
        cut = tuple(
            f"{name} was cut at {text.tokens} tokens"
            for name, text in texts.items()
            if text and text.truncated
        )
        return (*cut, *self.components.rounding(plan.base.variant))

    def generate(self, request: Request, *, progress: Listener | None = None) -> Result:
        """A clip in memory.

        `progress` is called with an `ltx2.progress.Event` at each stage and step.
        """
        report = Progress(progress)
        prepared = prepare(
            request,
            checkpoint=self.checkpoint,
            limits=self.limits,
            media=self.media_limits,
            files=self.lora_files,
            sources=self.lora_sources,
        )
        prepared = complete(prepared, engine=self, progress=report)
        report.expect(expected_work(prepared.plan))

        def make(plan: Plan, decision: Decision | None) -> tuple[Plan, Clip, np.ndarray]:
            clip = self.run(plan, prepared.inputs, report, decision)
            with closing(clip.frames), report.stage("decode+encode", clip.chunks):
                return plan, clip, np.concatenate(list(counted(clip.frames, report)))

        (plan, clip, frames), retold = tried_twice(self, prepared.plan, report, make)
        return Result(
            plan=plan,
            frames=frames,
            audio=clip.audio,
            audio_sample_rate=clip.audio_sample_rate,
            timings=dict(report.timings),
            warnings=(
                *prepared.told,
                *plan.warnings,
                *self.run_warnings(plan),
                *retold,
                *clip.warnings,
            ),
            encoder_options=self.encoder_options,
            matches=prepared.matches or {},
            weights=self.components.rounded(plan.base.variant),
        )


def find_device(name: str | None) -> torch.device:
    """The device of that name; for None the GPU where there is one. Raises ConfigError for one that
    is not on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = [*(["cuda"] if count else []), *(f"cuda:{index}" for index in range(count)), "cpu"]
    if name is None:
        return torch.device(present[0])
    if name not in present:
        why = "" if torch.version.cuda else "; this torch is built without CUDA"
        raise ConfigError(
            f"there is no device {name!r} here; there is {', '.join(present)}"
            f"{why if name.startswith('cuda') else ''}"
        )
    return torch.device(name)


def needed_parts(plan: Plan, components: Components) -> list[str]:
    """The parts a plan uses, in the order of their use; those of the prompts only for new ones."""
    variant = plan.base.variant
    text = ("tokenizer", "text_encoder", f"connectors:{variant}")
    new = any(
        components.known_text(variant, text, plan.passes[name].adapters) is None
        for name, pair in plan.texts.items()
        for text in pair
        if text is not None
    )
    return [
        *(name for name in text if new and home(components.residency, name) != "disk"),
        f"transformer:{variant}",
        *(part for part in plan.wanted_parts if part.endswith("_upscaler")),
        *(["audio_vae", "vocoder"] if plan.audio_from else []),
        "vae",
    ]


def default_dtype(device: torch.device, settings: Settings) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU.

    The models were trained in bfloat16; a CPU has no fast bfloat16.
    """
    if settings.dtype is not None:
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[settings.dtype]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@contextmanager
def translated(plan: Plan | RestorePlan, *, decoding: bool = False) -> Iterator[None]:
    """Errors of the lower layers as errors of this one; of the decoder's where `decoding`."""
    full = (
        f"{plan.width}x{plan.height} for {plan.duration:.1f} s does not fit the device's"
        " memory; a lower resolution or a shorter clip needs less"
    )
    try:
        with faults(full, decoding=decoding):
            yield
    except NonFinite as error:
        raise GenerationFailed(f"{error}; plan {plan.id}, seed {plan.seed}") from error
    except (CheckpointError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    except LoraMismatch as error:
        adapters = [adapter for part in plan.passes.values() for adapter in part.adapters]
        raise refusal_of(error, adapters) from error


def _translated_frames(frames: Generator[np.ndarray], plan: Plan) -> Generator[np.ndarray]:
    with translated(plan, decoding=True), closing(frames):
        yield from frames
