"""The released models' sizes follow from their own configurations; built without memory."""

import json

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors

from pipelines.checkpoints.configs import diffusers_config
from pipelines.checkpoints.headers import CheckpointError

# What the 22B files say; the 19B file says nothing of the connectors.
COMMON = {
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "in_channels": 128,
    "out_channels": 128,
    "num_layers": 48,
    "cross_attention_dim": 4096,
    "caption_channels": 3840,
    "audio_num_attention_heads": 32,
    "audio_attention_head_dim": 64,
    "audio_out_channels": 128,
    "audio_cross_attention_dim": 2048,
    "positional_embedding_theta": 10000.0,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "audio_positional_embedding_max_pos": [20],
    "timestep_scale_multiplier": 1000,
    "av_ca_timestep_scale_multiplier": 1000.0,
    "rope_type": "split",
    "frequencies_precision": "float64",
    "norm_eps": 1e-06,
    "qk_norm": "rms_norm",
    "standardization_norm": "rms_norm",
    "av_cross_ada_norm": True,
    "use_middle_indices_grid": True,
}
LATER = {
    **COMMON,
    "apply_gated_attention": True,
    "connector_apply_gated_attention": True,
    "cross_attention_adaln": True,
    "causal_temporal_positioning": True,
    "caption_proj_before_connector": True,
    "connector_num_layers": 8,
    "connector_num_attention_heads": 32,
    "connector_attention_head_dim": 128,
    "audio_connector_attention_head_dim": 64,
    "connector_num_learnable_registers": 128,
    "connector_positional_embedding_max_pos": [4096],
}
MODULATED = {
    "gated_attn": True,
    "audio_gated_attn": True,
    "cross_attn_mod": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
}
MARKED = {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
RELEASED = {
    "2.0": (COMMON, {"rope_type": "split"}),
    "2.3": (LATER, {"rope_type": "split", **MODULATED}),
    "2.5": ({**LATER, **MARKED}, {"rope_type": "split", **MODULATED, **MARKED}),
}


def built(cls, arguments):
    with torch.device("meta"):
        return cls(**arguments)


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def options(module):
    public = {name: value for name, value in module.config.items() if not name.startswith("_")}
    return json.loads(json.dumps(public))


@pytest.mark.parametrize("version", RELEASED)
def test_the_transformers_of_the_released_files(version):
    config, arguments = RELEASED[version]
    wanted = built(LTX2VideoTransformer3DModel, {**arguments, "perturbed_attn": True})
    ours = diffusers_config("transformer", {"transformer": config}, shapes(wanted))
    assert options(built(LTX2VideoTransformer3DModel, ours)) == options(wanted)


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        (COMMON, {}),
        (
            LATER,
            {
                "per_modality_projections": True,
                "proj_bias": True,
                "video_gated_attn": True,
                "audio_gated_attn": True,
                "video_connector_num_attention_heads": 32,
                "video_connector_num_layers": 8,
                "audio_connector_num_attention_heads": 32,
                "audio_connector_attention_head_dim": 64,
                "audio_connector_num_layers": 8,
            },
        ),
    ],
)
def test_the_connectors_of_the_released_files(config, arguments):
    wanted = built(LTX2TextConnectors, {"rope_type": "split", **arguments})
    ours = diffusers_config("connectors", {"transformer": config}, shapes(wanted))
    assert options(built(LTX2TextConnectors, ours)) == options(wanted)


def test_the_text_encoders_width_is_told_by_the_released_size_alone():
    wanted = built(
        LTX2TextConnectors,
        {"per_modality_projections": True, "proj_bias": True, "rope_type": "split"},
    )
    config = {name: value for name, value in COMMON.items() if name != "caption_channels"}
    ours = diffusers_config("connectors", {"transformer": config}, shapes(wanted))
    assert (ours["caption_channels"], ours["text_proj_in_factor"]) == (3840, 49)
    with pytest.raises(CheckpointError, match="the text encoder says 2560"):
        diffusers_config("connectors", {"transformer": config}, shapes(wanted), text_width=2560)


def test_the_video_vae_of_the_19b_file():
    wanted = built(AutoencoderKLLTX2Video, {"decoder_causal": False})
    resampling = ("compress_space_res", "compress_time_res", "compress_all_res", "compress_all_res")
    encoder = [["res_x", {"num_layers": 4}]]
    for name, layers in zip(resampling, (6, 6, 2, 2), strict=True):
        encoder += [[name, {"multiplier": 2}], ["res_x", {"num_layers": layers}]]
    decoder = [["res_x", {"num_layers": 5, "inject_noise": False}]]
    for _ in range(3):
        decoder.append(["compress_all", {"residual": True, "multiplier": 2}])
        decoder.append(["res_x", {"num_layers": 5, "inject_noise": False}])
    config = {"vae": {"encoder_blocks": encoder, "decoder_blocks": decoder, "patch_size": 4}}
    ours = diffusers_config("vae", config, shapes(wanted))
    assert (ours.pop("spatial_compression_ratio"), ours.pop("temporal_compression_ratio")) == (
        32,
        8,
    )
    assert options(built(AutoencoderKLLTX2Video, ours)) == options(wanted)


def test_an_unknown_block_of_the_video_vae_is_named():
    wanted = built(AutoencoderKLLTX2Video, {"decoder_causal": False})
    config = {"vae": {"encoder_blocks": [["res_x", 4], ["attn_res_x", 1]], "decoder_blocks": []}}
    with pytest.raises(CheckpointError, match="encoder block 1 is 'attn_res_x'") as caught:
        diffusers_config("vae", config, shapes(wanted))
    assert "no complete list of decoder blocks" in str(caught.value)
