"""Image to video: as text to video, with the pictures encoded anew for each pass, at its size."""

import torch

from pipelines.components import Components
from pipelines.plan import Plan
from pipelines.recipes.finish import finish, upscale
from pipelines.stages.condition import follow, place
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
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
            prompts["base"],
            stage="base",
            noise=noise,
            step_noise=torch.Generator().manual_seed(plan.ancestral_seed),
            placed=placed,
            progress=progress,
        )
    latents = upscale(model, plan.upscalers, base, progress)
    if plan.refine:
        with progress.stage("condition"):
            placed = place(model, plan.refine, inputs)
        with progress.stage("refine", plan.refine.steps):
            latents = denoise(
                model,
                plan.refine,
                prompts["refine"],
                stage="refine",
                noise=noise,
                init=latents,
                placed=(*placed, *follow(plan.refine, base.video)),
                progress=progress,
            )
    return finish(model, plan, base, latents, prompts, inputs, noise, progress)
