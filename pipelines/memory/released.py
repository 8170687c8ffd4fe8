"""The released models' architecture, for machines that have none of their files.

Arguments of the libraries' classes, only where they differ from the class's own defaults, which are
LTX-2.0's. With files at hand their headers are read instead, and these tables are not used.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from pipelines.checkpoints.load import module_class
from pipelines.checkpoints.quantise import Quantisation
from pipelines.memory.outline import Outlines
from pipelines.models import Generation
from pipelines.plan import Variant

Arguments = Mapping[str, Any]

_TRANSFORMER: Arguments = {"rope_type": "split", "perturbed_attn": True}
_GATED: Arguments = {
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
}
_UPSCALER: Arguments = {"use_rational_resampler": False}
_LTX_2: Mapping[str, Arguments] = {
    "transformer": _TRANSFORMER,
    "connectors": {"rope_type": "split"},
    "vae": {"decoder_causal": False},
    "audio_vae": {},
    "vocoder": {},
    "spatial_upscaler": _UPSCALER,
    "temporal_upscaler": _UPSCALER | {"spatial_upsample": False, "temporal_upsample": True},
}
_LTX_2_3: Mapping[str, Arguments] = {
    **_LTX_2,
    "transformer": _TRANSFORMER | _GATED,
    "connectors": {
        "rope_type": "split",
        "video_connector_num_attention_heads": 32,
        "video_connector_num_layers": 8,
        "video_gated_attn": True,
        "audio_connector_num_attention_heads": 32,
        "audio_connector_attention_head_dim": 64,
        "audio_connector_num_layers": 8,
        "audio_gated_attn": True,
        "per_modality_projections": True,
        "proj_bias": True,
    },
    "vae": {
        "block_out_channels": (256, 512, 1024, 1024),
        "layers_per_block": (4, 6, 4, 2, 2),
        "decoder_causal": False,
        "decoder_block_out_channels": (256, 512, 512, 1024),
        "decoder_layers_per_block": (4, 6, 4, 2, 2),
        "decoder_spatio_temporal_scaling": (True,) * 4,
        "decoder_inject_noise": (False,) * 5,
        "decoder_spatial_padding_mode": "zeros",
        "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        "upsample_residual": (False,) * 4,
        "upsample_factor": (2, 2, 1, 2),
    },
    "vocoder": {"bwe_in_channels": 128},  # the class with bandwidth extension
}
_LTX_2_5: Mapping[str, Arguments] = {
    **_LTX_2_3,
    "transformer": _TRANSFORMER
    | _GATED
    | {"ff_bias": False, "use_keyframes_abs_pos_embedding": True},
}
RELEASED = {"2.0": _LTX_2, "2.3": _LTX_2_3, "2.5": _LTX_2_5}

# Gemma 3 12B. It stands in for the Gemma 4 12B of 2.5, which has as many layers of the same width
# and about as many weights.
_GEMMA: dict[str, dict[str, Any]] = {
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
    },
}


def released_outlines(
    generation: Generation,
    *,
    dtype: torch.dtype = torch.bfloat16,
    quantisation: Mapping[str, Quantisation] = MappingProxyType({}),
) -> Outlines:
    """The components of a released generation. A part of one that is not released is a KeyError."""

    def build(component: str, _variant: Variant) -> nn.Module:
        with init_empty_weights(include_buffers=False):
            return released_module(generation, component)

    return Outlines(build, dtype=dtype, quantisation=quantisation)


def released_module(generation: Generation, component: str) -> nn.Module:
    """A component of a released generation as its class makes it, on the device that is set."""
    if component == "text_encoder":
        config = Gemma3Config(
            text_config=_GEMMA["text_config"], vision_config=_GEMMA["vision_config"]
        )
        return Gemma3ForConditionalGeneration(config)
    options = RELEASED[generation.name][component]
    return module_class(component, options)(**options)
