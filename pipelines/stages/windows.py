"""A pass over finished latents in overlapping windows of time: detail, or the refining of a long
video.

A window after the first is guided by what the one before it made of the latents they share.
"""

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.components import Components
from pipelines.geometry import pixel_frames
from pipelines.plan import WindowPlan
from pipelines.stages.denoise import denoise
from pipelines.values import Latents, Placed, Progress, Prompts


def in_windows(
    model: Components,
    plan: WindowPlan,
    latents: Latents,
    prompts: Prompts,
    *,
    stage: str,
    progress: Progress,
    reference: Tensor | None = None,
) -> Latents:
    """Run a pass over a clip of any length; the sound is left alone.

    `reference` (1, 128, frames, height / 32 / downscale, width / 32 / downscale) is what the pass
    follows, normalised, on the clip's own frames; it is needed where the plan says so. A window
    starts from its own latents, noised to the schedule's first sigma.
    """
    if (reference is None) != (plan.denoise.reference_downscale is None):
        raise ValueError("the reference must be given exactly where the plan follows one")
    made: Tensor | None = None
    for start, end in plan.spans(latents.video.shape[2]):
        shared = 0 if made is None else made.shape[2] - start
        placed = [] if made is None else [_held(made[:, :, start:], plan)]
        if reference is not None:
            placed.append(_followed(reference[:, :, start:end], shared, plan))
        part = Latents(video=latents.video[:, :, start:end], audio=latents.audio)
        window = denoise(
            model,
            replace(plan.denoise, frames=pixel_frames(end - start)),
            prompts,
            stage=stage,
            noise=torch.Generator().manual_seed(plan.seed + start),
            init=part,
            placed=tuple(placed),
            progress=progress,
        )
        made = window.video if made is None else _joined(made, window.video, start)
    if made is None:
        raise ValueError("there are no latents to work on")
    return replace(latents, video=made)


def _held(latent: Tensor, plan: WindowPlan) -> Placed:
    """The last latents of the window before, at the same place at the head of this one.

    Beside this window's own where it follows a reference, as the detailer was trained. A model
    without such a LoRA pays no heed to latents beside its own: it gets them in their place, as it
    is given a first picture, and what both windows have is then the same.
    """
    beside = plan.denoise.reference_downscale is not None
    return Placed(latent=latent, strength=plan.hold, frame=0, append=beside, reference=beside)


def _followed(reference: Tensor, shared: int, plan: WindowPlan) -> Placed:
    """What this window follows, from the latents on that are new in it."""
    return Placed(
        latent=reference[:, :, shared:],
        strength=1.0,
        frame=0,
        append=True,
        reference=True,
        first_latent=shared,
        downscale=plan.denoise.reference_downscale or 1,
    )


def _joined(before: Tensor, window: Tensor, start: int) -> Tensor:
    """Two windows, the later one without its first latent, cross-faded where both have latents.

    Its first latent was made as a still picture, as every clip's is.
    """
    window, start = window[:, :, 1:], start + 1
    count = before.shape[2] - start
    if count == 0:
        return torch.cat((before, window), dim=2)
    fade = torch.arange(1, count + 1, device=window.device, dtype=window.dtype) / (count + 1)
    fade = fade.view(1, 1, -1, 1, 1)
    mixed = before[:, :, start:] * (1 - fade) + window[:, :, :count] * fade
    return torch.cat((before[:, :, :start], mixed, window[:, :, count:]), dim=2)
