"""Pictures (and reference videos) to latents at their place in the clip."""

import math

import numpy as np
import torch
from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf
from PIL import Image
from torch import Tensor

from pipelines.components import Components
from pipelines.plan import DenoisePlan
from pipelines.tokens import normalise_video
from pipelines.values import Inputs, Placed


def place(model: Components, plan: DenoisePlan, inputs: Inputs) -> tuple[Placed, ...]:
    """Encode the pictures of a pass at that pass's size.

    Each pass encodes anew: the picture is never upscaled.
    """
    return tuple(
        Placed(
            latent=encode_picture(
                model, inputs.images[condition.image], plan.width, plan.height, condition.crf
            ),
            strength=condition.strength,
            frame=condition.frame,
            append=condition.frame != 0,
        )
        for condition in plan.conditions
    )


def follow(plan: DenoisePlan, latent: Tensor) -> tuple[Placed, ...]:
    """The clip of the pass before as what this pass follows, where its plan has it so."""
    if plan.reference_downscale is None:
        return ()
    reference = Placed(
        latent=latent,
        strength=1.0,
        frame=0,
        append=True,
        reference=True,
        downscale=plan.reference_downscale,
    )
    return (reference,)


def encode_picture(
    model: Components, picture: Image.Image, width: int, height: int, crf: int
) -> Tensor:
    """An upright RGB picture to a normalised latent (1, 128, 1, height / 32, width / 32).

    The picture passes through one H.264 frame at `crf` (the model was trained on compressed frames,
    a cleaner picture freezes the clip), is scaled to cover the frame and cropped at its centre.
    """
    pixels = np.array(picture.convert("RGB"))
    pixels = apply_image_conditioning_crf(pixels, crf)
    return encode_pixels(model, cover(pixels[None], width, height))


def cover(frames: np.ndarray, width: int, height: int) -> Tensor:
    """uint8 (n, h, w, 3) to float (1, 3, n, height, width) in -1..1.

    Scale to cover, crop the centre. Bilinear without antialiasing and with sizes rounded up, as in
    the reference. Pictures of extreme shapes, which would grow far beyond the frame before they are
    cropped, are refused when they are fetched.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    scale = max(height / pixels.shape[2], width / pixels.shape[3])
    size = (math.ceil(pixels.shape[2] * scale), math.ceil(pixels.shape[3] * scale))
    pixels = torch.nn.functional.interpolate(
        pixels, size=size, mode="bilinear", align_corners=False
    )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    pixels = pixels[:, :, top : top + height, left : left + width]
    return (pixels / 127.5 - 1).transpose(0, 1)[None]


@torch.inference_mode()
def encode_pixels(model: Components, pixels: Tensor) -> Tensor:
    """Pixels (1, 3, 8k + 1, height, width) in -1..1 to the mean latent, normalised, float32."""
    with model.using("vae") as vae:
        latent = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist.mode()
        return normalise_video(vae, latent.float())
