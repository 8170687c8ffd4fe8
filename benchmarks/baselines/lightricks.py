"""Lightricks' own distilled pipeline on the same files, where its packages are installed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.baselines.lightricks_parts import REQUIREMENTS, absent
from benchmarks.timing import Sample, Stages, timed

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.prepare import Prepared

PACKAGES = ("ltx-core", "ltx-pipelines")


class Lightricks:
    """ltx-pipelines as its command runs it: in bfloat16, its parts built for every clip."""

    def __init__(self, engine: "Engine", prepared: "Prepared", target: Path) -> None:
        from ltx_pipelines.distilled import DistilledPipeline  # type: ignore[import-not-found]
        from ltx_pipelines.utils.args import (  # type: ignore[import-not-found]
            ImageConditioningInput,
        )

        weights = engine.components.weights
        self._device = engine.components.device
        self._plan: Any = prepared.plan
        self._target = target
        files = _pictures(prepared, target.parent)
        self._images = [
            ImageConditioningInput(str(file), each.frame, each.strength, each.crf)
            for file, each in zip(files, self._plan.base.conditions, strict=True)
        ]
        self._pipe = DistilledPipeline(
            distilled_checkpoint_path=str(weights.files("transformer", "distilled")[0]),
            gemma_root=str(weights.files("text_encoder")[0]),
            spatial_upsampler_path=str(weights.files("spatial_upscaler")[0]),
            loras=[],
            device=self._device,
        )

    @staticmethod
    def missing(engine: "Engine", prepared: "Prepared") -> str:
        """Why it cannot run here; empty where it can."""
        weights = engine.components.weights
        if told := absent(PACKAGES):
            return f"{told}: pip install -r benchmarks/baselines/{REQUIREMENTS.name}"
        if engine.components.device.type != "cuda":
            return "its pipeline needs a CUDA device"
        if prepared.plan.mode != "fast":
            return "only its distilled pipeline is measured"
        if weights.layout != "original" or not weights.root.exists():
            return "it reads Lightricks' own files, and these weights are none"
        if engine.checkpoint.generation.name not in ("2.0", "2.3"):
            return f"its pinned release runs 2.0 and 2.3, not {engine.checkpoint.generation.name}"
        return ""

    def make(self) -> Sample:
        """One clip, parts built anew as its pipeline does."""
        report = Stages(self._device)
        whole = timed(self._device, lambda: self._make(report))
        return report.sample(whole.seconds)

    def _make(self, report: Stages) -> None:
        import torch
        from ltx_core.model.video_vae import (  # type: ignore[import-not-found]
            TilingConfig,
            get_video_chunks_number,
        )
        from ltx_pipelines.utils.media_io import encode_video  # type: ignore[import-not-found]

        plan, tiles = self._plan, TilingConfig.default()
        with torch.inference_mode():
            with report.stage("prompt to latents"):
                video, audio = self._pipe(
                    prompt=plan.prompt,
                    seed=plan.seed,
                    height=plan.height,
                    width=plan.width,
                    num_frames=plan.num_frames,
                    frame_rate=float(plan.fps),
                    images=self._images,
                    tiling_config=tiles,
                )
            with report.stage("decode+encode"):
                encode_video(
                    video=video,
                    fps=plan.fps,
                    audio=audio,
                    output_path=str(self._target),
                    video_chunks_number=get_video_chunks_number(plan.num_frames, tiles),
                )

    def close(self) -> None:
        """Let go of its parts."""
        del self._pipe


def _pictures(prepared: "Prepared", folder: Path) -> list[Path]:
    """The request's pictures as files, which is how its pipeline takes them."""
    files = []
    for name, image in prepared.inputs.images.items():
        files.append(folder / f"{name}.png")
        image.save(files[-1])
    return files
