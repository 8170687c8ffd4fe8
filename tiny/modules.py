"""The parts to train: the real classes at the sizes of the embedded checkpoint, freshly started.

Constructor arguments come from the original configuration through the loader's own reading of it,
so what is trained is what will be loaded.
"""

from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from torch import nn

from pipelines.checkpoints.configs import diffusers_config
from tiny import sizes

CLASSES: dict[str, type[Any]] = {
    "transformer": LTX2VideoTransformer3DModel,
    "connectors": LTX2TextConnectors,
    "vae": AutoencoderKLLTX2Video,
    "audio_vae": AutoencoderKLLTX2Audio,
    "vocoder": LTX2Vocoder,
}


def module(name: str, *, seed: int = 0) -> nn.Module:
    """A part of the checkpoint, or an upscaler by its name in `sizes.UPSCALERS`, in float32."""
    torch.manual_seed(seed)
    if name in sizes.UPSCALERS:
        options = {**sizes.UPSCALERS[name]}
        scale, rational = options.pop("spatial_scale"), options.pop("rational_resampler")
        return LTX2LatentUpsamplerModel(
            **options, rational_spatial_scale=scale, use_rational_resampler=rational
        )
    with init_empty_weights():
        empty = CLASSES[name](**sizes.MODULES[name])
    shapes = {key: tuple(value.shape) for key, value in empty.state_dict().items()}
    return CLASSES[name](**diffusers_config(name, sizes.ORIGINAL, shapes))
