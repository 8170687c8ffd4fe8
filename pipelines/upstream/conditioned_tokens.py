"""Conditioned tokens have a noise level of their own.

What differs: a token held at strength s is at sigma * (1 - s). The reference converts the model's
velocity to x0 with that token's own sigma, also where 0 < s < 1; diffusers uses the full sigma for
every token (equal only at s = 0 and 1). The ancestral sampler of the reference blends the held part
back in after its noise; diffusers' pipelines do not.
End: when `LTX2ConditionPipeline.convert_velocity_to_x0` takes the mask,
`test_stock_x0_still_uses_the_full_sigma` fails.
"""

import torch
from torch import Tensor


def start(
    latent: Tensor, clean: Tensor, noise: Tensor, mask: Tensor | None, noise_scale: float
) -> Tensor:
    """First state of a pass, (1, tokens, channels).

    `mask` is 1 - strength per token, None where nothing is held.
    """
    noised = torch.lerp(latent, noise, noise_scale)
    return noised if mask is None else torch.lerp(clean, noised, mask)


def to_x0(sample: Tensor, velocity: Tensor, sigma: float, mask: Tensor | None) -> Tensor:
    """The model's velocity as a denoised estimate, every token at its own sigma."""
    return sample - velocity * (sigma if mask is None else sigma * mask)


def hold(x0: Tensor, clean: Tensor, mask: Tensor | None) -> Tensor:
    """Blend the conditioned tokens back to what they are held at."""
    return x0 if mask is None else x0 * mask + clean * (1 - mask)
