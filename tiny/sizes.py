"""Every size of the embedded checkpoint, in one table.

The grid is the real one, 32x32 pixels and 8 frames, with fewer channels. The layout is LTX-2.0's.
`ORIGINAL` is the configuration as Lightricks' files carry it; the diffusers constructor arguments
are derived from it by the real loader, so the two cannot drift apart.
"""

from typing import Any

from pipelines.models import CHECKPOINTS

FILES = CHECKPOINTS["tiny"].files
MODEL_VERSION = "tiny-1"
TEXT_ENCODER = "gemma-3-tiny"  # a transformers folder

TEXT_WIDTH = 64
TEXT_LAYERS = 2
TEXT_HEADS = 4
MAX_TOKENS = 64  # of a prompt, and registers that stand where it has none
BLOCKS = 5
HEADS = 4
VIDEO_HEAD = 32  # channels of a head
AUDIO_HEAD = 16
CONNECTOR_LAYERS = 2
VIDEO_CHANNELS = 32  # of a video latent
DECODER_BASE = 24  # channels before the last convolution of the video decoder
AUDIO_CHANNELS = 2  # of an audio latent, at each of its 16 mel bins
AUDIO_BASE = 16 * AUDIO_CHANNELS  # the packed audio latent has this many channels
VOCODER_CHANNELS = 64
# Two a group: group norm refuses a single value, which 64x64 pixels for one frame would give.
UPSCALER_CHANNELS = 64
LORA_RANKS = {"camera": 8, "detailer": 8, "distilled": 16}
DETAILER_DOWNSCALE = 2

GEMMA_TEXT: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 2 * TEXT_WIDTH,
    "num_hidden_layers": TEXT_LAYERS,
    "num_attention_heads": TEXT_HEADS,
    "num_key_value_heads": TEXT_HEADS,
    "head_dim": TEXT_WIDTH // TEXT_HEADS,
    "query_pre_attn_scalar": TEXT_WIDTH // TEXT_HEADS,
    "max_position_embeddings": 512,
}
# The tower for pictures: only where a prompt is rewritten is it shown one.
GEMMA_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}

VIDEO_WIDTH = HEADS * VIDEO_HEAD
AUDIO_WIDTH = HEADS * AUDIO_HEAD

ORIGINAL: dict[str, Any] = {
    "transformer": {
        "_class_name": "AVTransformer3DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "in_channels": VIDEO_CHANNELS,
        "out_channels": VIDEO_CHANNELS,
        "num_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "attention_head_dim": VIDEO_HEAD,
        "cross_attention_dim": VIDEO_WIDTH,
        "audio_in_channels": AUDIO_BASE,
        "audio_out_channels": AUDIO_BASE,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_HEAD,
        "audio_cross_attention_dim": AUDIO_WIDTH,
        "caption_channels": TEXT_WIDTH,
        "positional_embedding_theta": 100.0,
        "positional_embedding_max_pos": [10, 512, 512],
        "audio_positional_embedding_max_pos": [10],
        "timestep_scale_multiplier": 1000,
        "av_ca_timestep_scale_multiplier": 1000,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": TEXT_WIDTH // HEADS,
        "connector_num_layers": CONNECTOR_LAYERS,
        "connector_positional_embedding_max_pos": [4096],
    },
    "vae": {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": VIDEO_CHANNELS,
        "encoder_blocks": [
            ["res_x", {"num_layers": 0}],
            ["compress_space_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 1}],
            ["compress_time_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 0}],
        ],
        "decoder_blocks": [
            ["res_x", {"num_layers": 1}],
            ["compress_all", {"residual": True, "multiplier": 2}],
            ["res_x", {"num_layers": 2}],
            ["compress_all", {"residual": True, "multiplier": 1}],
            ["res_x", {"num_layers": 2}],
            ["compress_all", {"residual": True, "multiplier": 2}],
            ["res_x", {"num_layers": 1}],
        ],
        "norm_layer": "pixel_norm",
        "patch_size": 4,
        "latent_log_var": "uniform",
        "causal_decoder": False,
        "timestep_conditioning": False,
        "decoder_base_channels": DECODER_BASE,
    },
    "audio_vae": {
        "model": {
            "params": {
                "sampling_rate": 16000,
                "ddconfig": {
                    "ch": AUDIO_BASE,
                    "out_ch": 2,
                    "in_channels": 2,
                    "ch_mult": [1, 2, 2],
                    "num_res_blocks": 1,
                    "attn_resolutions": [],
                    "resolution": 256,
                    "z_channels": AUDIO_CHANNELS,
                    "double_z": True,
                    "norm_type": "pixel",
                    "causality_axis": "height",
                    "dropout": 0.0,
                    "mid_block_add_attention": False,
                    "mel_bins": 64,
                },
            }
        },
        "preprocessing": {
            "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True},
            "mel": {"n_mel_channels": 64},
        },
    },
    "vocoder": {
        "resblock": "1",
        "stereo": True,
        "resblock_kernel_sizes": [3, 7, 11],
        "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [16, 15, 8, 4, 4],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "upsample_initial_channel": VOCODER_CHANNELS,
        "output_sampling_rate": 24000,
    },
}

UPSCALERS: dict[str, dict[str, Any]] = {
    name: {
        "in_channels": VIDEO_CHANNELS,
        # All clips go through the twofold one. That for 1.5 is flat, too.
        "mid_channels": UPSCALER_CHANNELS // (1 if name == "spatial_upscaler" else 2),
        "num_blocks_per_stage": 1,
        "dims": 2 if name == "spatial_upscaler_x1.5" else 3,
        "spatial_upsample": name != "temporal_upscaler",
        "temporal_upsample": name == "temporal_upscaler",
        "spatial_scale": 1.5 if name == "spatial_upscaler_x1.5" else 2.0,
        "rational_resampler": name == "spatial_upscaler_x1.5",
    }
    for name in ("spatial_upscaler", "spatial_upscaler_x1.5", "temporal_upscaler")
}

# Constructor arguments of the modules that name and shape the tensors; the loader reads ORIGINAL
# instead, and a test holds the two together.
MODULES: dict[str, dict[str, Any]] = {
    "transformer": {
        "in_channels": VIDEO_CHANNELS,
        "out_channels": VIDEO_CHANNELS,
        "audio_in_channels": AUDIO_BASE,
        "audio_out_channels": AUDIO_BASE,
        "num_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "attention_head_dim": VIDEO_HEAD,
        "cross_attention_dim": VIDEO_WIDTH,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_HEAD,
        "audio_cross_attention_dim": AUDIO_WIDTH,
        "caption_channels": TEXT_WIDTH,
        "rope_type": "split",
        "perturbed_attn": True,
    },
    "connectors": {
        "caption_channels": TEXT_WIDTH,
        "text_proj_in_factor": TEXT_LAYERS + 1,
        "video_connector_num_attention_heads": HEADS,
        "video_connector_attention_head_dim": TEXT_WIDTH // HEADS,
        "video_connector_num_layers": CONNECTOR_LAYERS,
        "audio_connector_num_attention_heads": HEADS,
        "audio_connector_attention_head_dim": TEXT_WIDTH // HEADS,
        "audio_connector_num_layers": CONNECTOR_LAYERS,
        "video_connector_num_learnable_registers": MAX_TOKENS,
        "audio_connector_num_learnable_registers": MAX_TOKENS,
        "rope_type": "split",
    },
    "vae": {
        "latent_channels": VIDEO_CHANNELS,
        "block_out_channels": tuple(n * VIDEO_CHANNELS for n in (2, 2, 4, 4)),
        "layers_per_block": (0, 1, 1, 1, 0),
        "decoder_block_out_channels": (2 * DECODER_BASE, 2 * DECODER_BASE, 4 * DECODER_BASE),
        "decoder_layers_per_block": (1, 2, 2, 1),
        "upsample_factor": (2, 1, 2),
        "decoder_causal": False,
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    },
    "audio_vae": {
        "latent_channels": AUDIO_CHANNELS,
        "base_channels": AUDIO_BASE,
        "ch_mult": (1, 2, 2),
        "num_res_blocks": 1,
    },
    "vocoder": {"hidden_channels": VOCODER_CHANNELS},
}
