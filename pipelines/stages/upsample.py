"""Latent upscaling between two passes."""

import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.plan import Upscaler
from pipelines.stages.denoise import finite
from pipelines.tokens import denormalise_video, normalise_video
from pipelines.values import Latents


@torch.inference_mode()
def upsample(model: Components, latents: Latents, upscaler: Upscaler) -> Latents:
    """Larger rows and columns or, with the temporal upscaler, 2F - 1 latent frames.

    The sound passes through. Pictures beside the clip are stills: the spatial upscalers take them
    one by one, the temporal one leaves them. The upscalers were trained on the VAE's own scale, so
    the latents are denormalised on the way in.
    """
    with model.using("vae") as vae, model.using(upscaler) as module:
        video = _through(vae, module, latents.video)
        slots = latents.slots
        if slots is not None and upscaler != "temporal_upscaler":
            slots = torch.cat([_through(vae, module, s) for s in slots.split(1, dim=2)], dim=2)
    return finite(Latents(video=video, audio=latents.audio, slots=slots), "upsample")


def _through(vae: nn.Module, module: nn.Module, latent: Tensor) -> Tensor:
    raw = denormalise_video(vae, latent)
    return normalise_video(vae, module(raw.to(next(module.parameters()).dtype)).float())
