"""Latent upscaling between two passes."""

import torch

from pipelines.components import Components
from pipelines.stages.denoise import finite
from pipelines.tokens import denormalise_video, normalise_video
from pipelines.values import Latents


@torch.inference_mode()
def upsample(model: Components, latents: Latents, upscaler: str = "spatial_upscaler") -> Latents:
    """Twice the rows and columns (or, with the temporal one, 2F - 1 latent frames).

    The sound passes through. The upscalers were trained on the VAE's own scale, so the latents are
    denormalised on the way in.
    """
    with model.using("vae") as vae, model.using(upscaler) as module:
        raw = denormalise_video(vae, latents.video)
        video = normalise_video(vae, module(raw.to(module.dtype)).float())
    return finite(Latents(video=video, audio=latents.audio), "upsample")
