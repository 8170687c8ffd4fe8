"""Stock diffusers pipelines on the parts of our engine."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx2 import (
    LTX2ImageToVideoPipeline,
    LTX2LatentUpsamplePipeline,
    LTX2Pipeline,
)
from diffusers.utils import encode_video
from torch import nn

from benchmarks.levers import LAYOUTS, turn
from benchmarks.timing import Sample, Stages, timed

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.prepare import Prepared
    from ltx2.settings import Settings

PARTS = ("vae", "audio_vae", "text_encoder", "tokenizer", "vocoder")
# Everything that the pipelines do beyond one forward a step unless they are told not to.
GUIDANCE_OFF = {
    "guidance_scale": 1.0,
    "audio_guidance_scale": 1.0,
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
    "guidance_rescale": 0.0,
    "audio_guidance_rescale": 0.0,
}
RECOMPILES = 64  # graphs of one block: the usual limit of 8 is an error with ordinary sizes


def as_shipped(settings: "Settings") -> "Settings":
    """Settings with which an engine leaves diffusers and its process as they are."""
    return replace(
        settings,
        attention="default",
        blocks="stock",
        batched_tokens=0,
        vae_layout="contiguous",
        freed_memory="returned",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How far a stock pipeline is set up by somebody who knows it."""

    name: str
    as_written: bool  # `guidance_scale` alone, as the documentation has it
    compiled: bool = False


KINDS = {
    "b0": Kind(name="b0", as_written=True),
    "b1": Kind(name="b1", as_written=False),
    "b2": Kind(name="b2", as_written=False, compiled=True),
}


def missing(kind: Kind, engine: "Engine", prepared: "Prepared") -> str:
    """Why this baseline cannot run here; empty where it can."""
    plan = prepared.plan
    if reason := widened(engine, plan.base.variant):
        return reason
    if engine.components.residency != "resident":
        return f"it holds every part on the device, and parts are {engine.components.residency}"
    if plan.temporal_round or plan.detail or plan.upscalers != ("spatial_upscaler",):
        return "its snippet has two passes with the spatial upscaler between them"
    if len(plan.images) > 1:
        return "its pipeline takes one picture"
    if kind.compiled and engine.components.device.type == "cpu" and not _compiler():
        return "torch compiles for a CPU with a C++ compiler, and there is none"
    return ""


def widened(engine: "Engine", variant: Literal["distilled", "dev"]) -> str:
    """Why the stock transformer would be held back by our weights; empty where they are exact."""
    kind = engine.components.rounded(variant).get("transformer")
    if kind is None:
        return ""
    return (
        f"the transformer's weights are rounded ({kind}), and it would widen them before each "
        "product: it is to be measured in a run of exact weights"
    )


def _compiler() -> bool:
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


class Stock:
    """Two stages of one stock pipeline with the upsampler between them, to an MP4."""

    def __init__(self, kind: Kind, engine: "Engine", prepared: "Prepared", target: Path) -> None:
        self._kind = kind
        self._engine = engine
        self._plan: Any = prepared.plan
        self._target = target
        images = list(prepared.inputs.images.values())
        self._image = images[0] if images else None
        parts, variant = engine.components, self._plan.base.variant
        cls: Any = LTX2ImageToVideoPipeline if images else LTX2Pipeline
        self._pipe: Any = cls(
            # Takes the sigmas as they are given, as the distilled checkpoints' own does.
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            transformer=parts.part(f"transformer:{variant}"),
            connectors=parts.part(f"connectors:{variant}"),
            **{name: parts.part(name) for name in PARTS},
        )
        self._pipe.set_progress_bar_config(disable=True)
        self._upsample: Any = LTX2LatentUpsamplePipeline(
            vae=parts.part("vae"), latent_upsampler=parts.part("spatial_upscaler")
        )
        self._upsample.set_progress_bar_config(disable=True)
        self._compiled: dict[nn.Module, Any] = {}

    def make(self) -> Sample:
        """One clip."""
        report = Stages(self._engine.components.device)
        with ExitStack() as stack:
            stack.enter_context(self._blocks())
            stack.enter_context(laid_as_read(self._engine))
            for owner, method, stage in self._apart():
                stack.enter_context(timed_calls(report, owner, method, stage))
            whole = timed(report.device, lambda: self._make(report))
        return report.sample(whole.seconds)

    def _apart(self) -> Iterator[tuple[Any, str, str]]:
        """What is no denoising within the pipelines' calls, by the stage that it is with ours."""
        pipe = self._pipe
        yield pipe, "encode_prompt", "prompt"
        yield pipe.connectors, "forward", "prompt"
        yield pipe.vae, "encode", "condition"
        yield pipe.audio_vae, "decode", "sound"
        yield pipe.vocoder, "forward", "sound"
        yield pipe.vae, "decode", "decode+encode"
        yield pipe.video_processor, "postprocess_video", "decode+encode"

    def _make(self, report: Stages) -> None:
        plan, parts = self._plan, self._engine.components
        generator = torch.Generator(parts.device).manual_seed(plan.seed)
        common: dict[str, Any] = {
            "prompt": plan.prompt,
            "frame_rate": float(plan.fps),
            "generator": generator,
            "return_dict": False,
            "max_sequence_length": parts.part("tokenizer").model_max_length,
            **({} if self._image is None else {"image": self._image}),
        }
        with (
            report.stage("base"),
            parts.using_transformer(plan.base.variant, plan.base.adapters),
        ):
            video, audio = self._pipe(
                **common,
                **self._pass(plan.base),
                width=plan.base.width,
                height=plan.base.height,
                num_frames=plan.base.frames,
                output_type="latent",
            )
        with report.stage("upsample"):
            video = self._upsample(latents=video, output_type="latent", return_dict=False)[0]
        with (
            report.stage("refine"),
            parts.using_transformer(plan.refine.variant, plan.refine.adapters),
        ):
            frames, sound = self._pipe(
                **common,
                **self._pass(plan.refine),
                latents=video,
                audio_latents=audio,
                width=plan.width,
                height=plan.height,
                num_frames=plan.num_frames,
                noise_scale=plan.refine.sigmas[0],
                output_type="np",
            )
        with report.stage("decode+encode"):
            pixels = torch.from_numpy((frames[0] * 255).round().astype(np.uint8))
            encode_video(
                pixels,
                fps=plan.fps,
                audio=sound[0].float().cpu(),
                audio_sample_rate=parts.part("vocoder").config.output_sampling_rate,
                output_path=str(self._target),
            )

    def _pass(self, part: Any) -> dict[str, Any]:  # noqa: ANN401 - a pass of a plan
        """Schedule and guidance of a pass."""
        options: dict[str, Any] = {
            "num_inference_steps": part.steps,
            "sigmas": list(part.sigmas[:-1]),
        }
        video, audio = part.video_guidance, part.audio_guidance
        guided = video.cfg != 1
        if guided:
            options |= {
                "negative_prompt": self._plan.negative_prompt,
                "guidance_scale": video.cfg,
                "spatio_temporal_guidance_blocks": list(part.stg_blocks),
            }
            if not self._kind.as_written:
                options |= {
                    "audio_guidance_scale": audio.cfg,
                    "stg_scale": video.stg,
                    "audio_stg_scale": audio.stg,
                    "modality_scale": video.modality,
                    "audio_modality_scale": audio.modality,
                    "guidance_rescale": video.rescale,
                    "audio_guidance_rescale": audio.rescale,
                }
            return options
        if self._kind.as_written:
            # The last block, where the usual one is not there: a toy has fewer.
            blocks = self._pipe.transformer.config.num_layers
            return options | {
                "guidance_scale": 1.0,
                "spatio_temporal_guidance_blocks": [min(28, blocks - 1)],
            }
        return options | GUIDANCE_OFF

    @contextmanager
    def _blocks(self) -> Iterator[None]:
        """The blocks compiled while this baseline runs, and as they were for everybody else."""
        if not self._kind.compiled:
            yield
            return
        blocks = list(self._pipe.transformer.transformer_blocks)
        before = {block: block._compiled_call_impl for block in blocks}
        if not self._compiled:
            self._pipe.transformer.compile_repeated_blocks(dynamic=False)
            self._compiled = {block: block._compiled_call_impl for block in blocks}
        try:
            for block in blocks:
                block._compiled_call_impl = self._compiled[block]
            limit = max(RECOMPILES, torch._dynamo.config.recompile_limit)
            with torch._dynamo.config.patch(recompile_limit=limit):
                yield
        finally:
            for block in blocks:
                block._compiled_call_impl = before[block]

    def close(self) -> None:
        """Let go of what was compiled, and of the parts."""
        self._compiled.clear()
        self._pipe = self._upsample = None


@contextmanager
def laid_as_read(engine: "Engine") -> Iterator[None]:
    """The decoder's weights as diffusers loads them; an engine may have turned them round."""
    vae = engine.components.part("vae")
    turn(vae, LAYOUTS["contiguous"])
    try:
        yield
    finally:
        turn(vae, LAYOUTS[str(engine.levers["vae_layout"])])


@contextmanager
def timed_calls(report: Stages, owner: Any, method: str, stage: str) -> Iterator[None]:  # noqa: ANN401 - a part
    """Calls of a method as a stage of its own, taken off whatever else is timed around them."""
    inner = getattr(owner, method)

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the method's own
        with report.apart(stage):
            return inner(*args, **kwargs)

    setattr(owner, method, call)
    try:
        yield
    finally:
        delattr(owner, method)
