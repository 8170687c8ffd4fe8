"""What the recipes share: the upscalers between passes, and all that follows the last full pass."""

from collections.abc import Mapping, Sequence

import torch

from pipelines.components import Components
from pipelines.geometry import audio_latents, latent_frames
from pipelines.plan import Plan, Upscaler
from pipelines.stages.decode import decode
from pipelines.stages.detail import detail
from pipelines.stages.temporal_round import temporal_round
from pipelines.stages.upsample import upsample
from pipelines.values import Clip, Inputs, Latents, Progress, Prompts


def upscale(
    model: Components, upscalers: Sequence[Upscaler], latents: Latents, progress: Progress
) -> Latents:
    """One upscaler after the other."""
    for upscaler in upscalers:
        with progress.stage("upsample"):
            latents = upsample(model, latents, upscaler)
    return latents


def finish(
    model: Components,
    plan: Plan,
    base: Latents,
    latents: Latents,
    prompts: Mapping[str, Prompts],
    inputs: Inputs,
    noise: torch.Generator,
    progress: Progress,
) -> Clip:
    """[Temporal round], [detail], then the sound, and the frames as they are read.

    `latents` are those of the last full pass; the sound is that of the pass the plan names.
    """
    sound = {"base": base, "refine": latents, None: None}[plan.audio_from]
    if plan.temporal_round:
        latents = upscale(model, ("temporal_upscaler",), latents, progress)
        with progress.stage("round", plan.temporal_round.steps):
            latents = temporal_round(
                model,
                plan.temporal_round,
                latents,
                prompts["round"],
                inputs,
                noise=noise,
                progress=progress,
            )
        latents, sound = cut(latents, plan), sound and cut(sound, plan)
    if plan.detail:
        with progress.stage("detail", plan.detail.steps(latents.video.shape[2])):
            latents = detail(
                model, plan.detail, latents, plan.decode, prompts["detail"], progress=progress
            )
    with progress.stage("sound"):
        return decode(model, latents, plan, sound=sound)


def cut(latents: Latents, plan: Plan) -> Latents:
    """Without what the clip was lengthened by for a temporal round.

    The sound is as long as it would be without one, at half the frame rate.
    """
    seconds = (plan.num_frames + 1) / plan.fps
    return Latents(
        video=latents.video[:, :, : latent_frames(plan.num_frames)],
        audio=latents.audio[:, :, : audio_latents(seconds)],
    )
