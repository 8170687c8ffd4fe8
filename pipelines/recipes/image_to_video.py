"""Image to video: as text to video, with the pictures encoded anew for each pass, at its size."""

import torch

from pipelines.components import Components
from pipelines.plan import Plan
from pipelines.stages.condition import place
from pipelines.stages.decode import decode
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from pipelines.stages.upsample import upsample
from pipelines.values import Clip, Inputs, Progress


def run(model: Components, plan: Plan, inputs: Inputs, progress: Progress) -> Clip:
    """The graph from prompt and pictures to a lazily decoded clip."""
    noise = torch.Generator().manual_seed(plan.seed)
    with progress.stage("prompt"):
        prompts = encode_prompts(model, plan)
    with progress.stage("condition"):
        placed = place(model, plan.base, inputs)
    with progress.stage("base", plan.base.steps):
        base = denoise(
            model,
            plan.base,
            prompts,
            stage="base",
            seconds=plan.duration,
            noise=noise,
            step_noise=torch.Generator().manual_seed(plan.ancestral_seed),
            placed=placed,
            progress=progress,
        )
    latents = base
    if plan.refine:
        with progress.stage("upsample"):
            upscaled = upsample(model, base)
        with progress.stage("condition"):
            placed = place(model, plan.refine, inputs)
        with progress.stage("refine", plan.refine.steps):
            latents = denoise(
                model,
                plan.refine,
                prompts,
                stage="refine",
                seconds=plan.duration,
                noise=noise,
                init=upscaled,
                placed=placed,
                progress=progress,
            )
    sound = {"base": base, "refine": latents, None: None}[plan.audio_from]
    with progress.stage("sound"):
        return decode(model, latents, plan, sound=sound)
