"""Small checkpoints in Lightricks' layout, written from small diffusers modules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoDiffusionDecoderModel,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import (
    LTX2DurationHead,
    LTX2LatentUpsamplerModel,
    LTX2TextConnectors,
    LTX2Vocoder,
    LTX2VocoderWithBWE,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from pipelines.checkpoints import keys

GENERATIONS = ("2.0", "2.3", "2.5")
MONOLITH = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
NAMES = {
    "2.0": "ltx-2-19b-dev.safetensors",
    "2.3": "ltx-2.3-22b-dev.safetensors",
    "2.5": "ltx-2.5-22b-dev.safetensors",
}
TEXT_WIDTH, TEXT_STATES = 20, 3  # hidden size, layers + 1


class Sample(NamedTuple):
    """A module and the original configuration that must lead back to it."""

    module: nn.Module
    config: dict[str, Any]  # the file's `config`, or its part under the component's name


def filled(module: nn.Module) -> nn.Module:
    """Every parameter and every stored buffer random, so that a tensor in a wrong place shows."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if not name.endswith(".filter"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return module.eval().requires_grad_(False)


def transformer(version: str) -> Sample:
    later = version != "2.0"
    arguments: dict[str, Any] = {
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "cross_attention_dim": 48,
        "audio_in_channels": 12,
        "audio_out_channels": 12,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 12,
        "audio_cross_attention_dim": 24,
        "caption_channels": TEXT_WIDTH,
        "rope_type": "split",
        "perturbed_attn": True,
        "use_prompt_embeddings": not later,
        "gated_attn": later,
        "audio_gated_attn": later,
        "cross_attn_mod": later,
        "audio_cross_attn_mod": later,
        "ff_bias": version != "2.5",
        "use_keyframes_abs_pos_embedding": version == "2.5",
    }
    config: dict[str, Any] = {
        "activation_fn": "gelu-approximate",
        "qk_norm": "rms_norm",
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "in_channels": 16,
        "num_layers": 2,
        "cross_attention_dim": 48,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 12,
        "positional_embedding_max_pos": [20, 2048, 2048],
        "timestep_scale_multiplier": 1000,
        "av_ca_timestep_scale_multiplier": 1000,
        "frequencies_precision": "float64",
        "rope_type": "split",
        "connector_num_attention_heads": 2,
        "connector_num_layers": 2,
    }
    if later:
        config |= {
            "cross_attention_adaln": True,
            "caption_proj_before_connector": True,
            "connector_attention_head_dim": 24,
            "audio_connector_attention_head_dim": 12,
        }
    if version == "2.5":
        config |= {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}
    return Sample(filled(LTX2VideoTransformer3DModel(**arguments)), config)


def connectors(version: str) -> Sample:
    later = version != "2.0"
    streams: dict[str, Any] = {}
    for stream, size in (("video", 24), ("audio", 12)):
        streams |= {
            f"{stream}_connector_num_attention_heads": 2,
            f"{stream}_connector_attention_head_dim": size if later else TEXT_WIDTH // 2,
            f"{stream}_connector_num_layers": 2,
            f"{stream}_connector_num_learnable_registers": 8,
            f"{stream}_gated_attn": later,
        }
    module = LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_STATES,
        rope_type="split",
        per_modality_projections=later,
        video_hidden_dim=48 if later else 4096,
        audio_hidden_dim=24 if later else 2048,
        proj_bias=later,
        **streams,
    )
    return Sample(filled(module), {})


def vae(version: str) -> Sample:
    later = version != "2.0"
    levels = ["compress_all"] * 3
    factors, kinds = [2, 2, 2], ["spatiotemporal"] * 3
    if later:
        levels = ["compress_space", "compress_time", "compress_all", "compress_all"]
        factors, kinds = [2, 2, 1, 2], ["spatiotemporal", "spatiotemporal", "temporal", "spatial"]
    count = len(levels)
    widths, width = [], 8
    for factor in factors:
        width *= factor
        widths.append(width)
    module = AutoencoderKLLTX2Video(
        latent_channels=16,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=(1, 0, 1, 0, 1),
        decoder_block_out_channels=tuple(widths),
        decoder_layers_per_block=tuple(range(1, count + 2)),
        decoder_spatio_temporal_scaling=(True,) * count,
        decoder_inject_noise=(False,) * (count + 1),
        upsample_type=tuple(kinds),
        upsample_residual=(not later,) * count,
        upsample_factor=tuple(factors),
        decoder_causal=False,
        decoder_spatial_padding_mode="zeros" if later else "reflect",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    decoder: list[Any] = [["res_x", {"num_layers": 1}]]
    for index, (name, factor) in enumerate(zip(levels, factors, strict=True)):
        options = {"multiplier": factor} | ({} if later else {"residual": True})
        decoder += [[name, options], ["res_x", {"num_layers": index + 2}]]
    encoder: list[Any] = [["res_x", {"num_layers": 1}]]
    for name, factor, layers in (
        ("compress_space_res", 2, 0),
        ("compress_time_res", 1, 1),
        ("compress_all_res", 2, 0),
        ("compress_all_res", 1, 1),
    ):
        encoder += [[name, {"multiplier": factor}], ["res_x", {"num_layers": layers}]]
    config = {
        "_class_name": "CausalVideoAutoencoder",
        "latent_channels": 16,
        "patch_size": 4,
        "encoder_blocks": encoder,
        "decoder_blocks": decoder,
        "norm_layer": "pixel_norm",
        "causal_decoder": False,
        "timestep_conditioning": False,
    }
    return Sample(filled(module), config | ({"spatial_padding_mode": "zeros"} if later else {}))


def audio_vae(_version: str) -> Sample:
    module = AutoencoderKLLTX2Audio(
        base_channels=16, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=2, mel_bins=64
    )
    network = {"ch": 16, "out_ch": 2, "ch_mult": [1, 1, 1], "num_res_blocks": 1, "z_channels": 2}
    model = {
        "sampling_rate": 16000,
        "ddconfig": {**network, "attn_resolutions": [], "mel_bins": 64},
    }
    stft = {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True}
    return Sample(filled(module), {"model": {"params": model}, "preprocessing": {"stft": stft}})


def vocoder(version: str) -> Sample:
    if version == "2.0":
        arguments: dict[str, Any] = {
            "in_channels": 8,
            "hidden_channels": 16,
            "upsample_kernel_sizes": [4, 4],
            "upsample_factors": [2, 2],
        }
        config = {
            "resblock": "1",
            "upsample_initial_channel": 16,
            "upsample_rates": [2, 2],
            "output_sampling_rate": 24000,
        }
        return Sample(filled(LTX2Vocoder(**arguments)), config)
    stage: dict[str, Any] = {
        "hidden_channels": 16,
        "upsample_kernel_sizes": [4, 4],
        "upsample_factors": [2, 2],
    }
    module = LTX2VocoderWithBWE(
        in_channels=16,
        bwe_in_channels=16,
        **stage,
        **{f"bwe_{name}": value for name, value in stage.items()},
        filter_length=32,
        window_length=32,
        hop_length=8,
        num_mel_channels=8,
    )
    one = {
        "resblock": "AMP1",
        "activation": "snakebeta",
        "upsample_initial_channel": 16,
        "upsample_rates": [2, 2],
        "use_tanh_at_final": False,
        "use_bias_at_final": False,
    }
    rates = {"input_sampling_rate": 16000, "output_sampling_rate": 48000, "hop_length": 8}
    return Sample(filled(module), {"vocoder": one, "bwe": {**one, **rates, "n_fft": 32}})


def upscaler(kind: str, *, rational: bool = False) -> Sample:
    """A latent upscaler: `kind` is "spatial" or "temporal"."""
    config: dict[str, Any] = {
        "in_channels": 16,
        "mid_channels": 32,
        "num_blocks_per_stage": 1,
        "dims": 3,
        "spatial_upsample": kind == "spatial",
        "temporal_upsample": kind == "temporal",
    }
    module = LTX2LatentUpsamplerModel(**config, use_rational_resampler=rational)
    return Sample(filled(module), {**config, "spatial_scale": 2.0, "rational_resampler": rational})


def duration_head() -> Sample:
    module = LTX2DurationHead(
        video_cross_attention_dim=48,
        audio_cross_attention_dim=24,
        pooler_hidden_dim=16,
        mlp_hidden_dim=8,
    )
    return Sample(filled(module), {})


def diffusion_decoder() -> Sample:
    strides = ((1, 2, 2), (2, 1, 1), (2, 2, 2), (2, 2, 2))
    module = LTX2VideoDiffusionDecoderModel(
        latent_channels=16,
        decoder_head_dim=16,
        decoder_stage_channels=(64, 32, 16, 16, 16),
        decoder_stage_depths=(1, 1, 1, 1, 2),
        decoder_stage_kernels=((3, 3, 3),) * 4,
        decoder_upsample_strides=strides,
        decoder_upsample_channel_reductions=(2, 2, 1, 1),
        decoder_stage5_kernel=(3, 5, 5),
        decoder_t_emb_dim=32,
    )
    own = {
        "head_dim": 16,
        "t_emb_dim": 32,
        "default_num_inference_steps": 1,
        "timestep_scale_multiplier": 1000.0,
        "stage_channels": [64, 32, 16, 16, 16],
        "stage_depths": [1, 1, 1, 1, 2],
        "stage_kernels": [[3, 3, 3]] * 5,
        "stage5_kernel": [3, 5, 5],
        "upsamples": [[list(s), r] for s, r in zip(strides, (2, 2, 1, 1), strict=True)],
    }
    config = {"_class_name": "CausalDiffusionVAE", "model_output_type": "x0", "decoder": own}
    return Sample(filled(module), config)


SAMPLES = {
    "transformer": transformer,
    "connectors": connectors,
    "vae": vae,
    "audio_vae": audio_vae,
    "vocoder": vocoder,
}


def originals(component: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors under their original names; fused q, k and v are joined again."""
    joined: dict[str, list[Tensor]] = {}
    for name, tensor in module.state_dict().items():
        joined.setdefault(keys.to_original(component, name), []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in joined.items()}


def write(
    path: Path, tensors: Mapping[str, Tensor], config: object, version: str | None = None
) -> Path:
    """One safetensors file with the metadata that Lightricks' files have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"config": json.dumps(config)} | (
        {"model_version": f"{version}.0"} if version else {}
    )
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def monolith(version: str) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, nn.Module]]:
    """Tensors, configuration and modules of a whole-model file."""
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {}
    modules: dict[str, nn.Module] = {}
    for component in MONOLITH:
        sample = SAMPLES[component](version)
        modules[component] = sample.module
        tensors |= originals(component, sample.module)
        if sample.config:
            config[component] = sample.config
    return tensors, config, modules
