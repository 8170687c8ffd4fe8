"""Text to video: prompt, base pass, [upscale, refine], decode."""

import torch

from pipelines.components import Components
from pipelines.plan import Plan
from pipelines.stages.decode import decode
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from pipelines.stages.upsample import upsample
from pipelines.values import Clip, Inputs, Progress


def run(model: Components, plan: Plan, _inputs: Inputs, progress: Progress) -> Clip:
    """The graph from prompt to a lazily decoded clip."""
    noise = torch.Generator().manual_seed(plan.seed)
    with progress.stage("prompt"):
        prompts = encode_prompts(model, plan)
    with progress.stage("base", plan.base.steps):
        step_noise = torch.Generator().manual_seed(plan.ancestral_seed)
        base = denoise(
            model,
            plan.base,
            prompts,
            stage="base",
            seconds=plan.duration,
            noise=noise,
            step_noise=step_noise,
            progress=progress,
        )
    latents = base
    if plan.refine:
        with progress.stage("upsample"):
            upscaled = upsample(model, base)
        with progress.stage("refine", plan.refine.steps):
            latents = denoise(
                model,
                plan.refine,
                prompts,
                stage="refine",
                seconds=plan.duration,
                noise=noise,
                init=upscaled,
                progress=progress,
            )
    sound = {"base": base, "refine": latents, None: None}[plan.audio_from]
    with progress.stage("sound"):
        return decode(model, latents, plan, sound=sound)
