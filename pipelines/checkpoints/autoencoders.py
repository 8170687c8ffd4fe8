"""Arguments of the VAEs, the vocoders and the diffusion decoder, from original files. No torch."""

from collections.abc import Mapping
from math import prod
from typing import Any

from pipelines.checkpoints.facts import Config, Facts, Shapes, children, part

# Geometry of the audio path that no transformer config holds; the audio VAE's file confirms it.
AUDIO_RATE = 16000  # samples per second
AUDIO_HOP = 160  # samples per mel frame
NO_TIMESTEPS = "a decoder with timestep conditioning is not supported; LTX-2 has none"
# compress_<name> -> what diffusers calls it, rows and columns per latent, frames per latent
_RESAMPLING = {
    "space": ("spatial", 2, 1),
    "time": ("temporal", 1, 2),
    "all": ("spatiotemporal", 2, 2),
}


def vae(facts: Facts, original: Config, shapes: Shapes, _width: int | None) -> dict[str, Any]:
    config = part(facts, original, "vae")
    if config.get("_class_name") == "CausalDiffusionVAE":
        facts.problems.append(
            "this file decodes by diffusion; the convolutional decoder is in another file"
        )
        return {}
    for field, accepted in (
        ("dims", (3,)),
        ("norm_layer", ("pixel_norm",)),
        ("latent_log_var", ("uniform",)),
    ):
        facts.expect(config, field, *accepted)
    if "decoder.scale_shift_table" in shapes or config.get("timestep_conditioning", False):
        facts.problems.append(NO_TIMESTEPS)
    patch = config.get("patch_size", 4)
    latent = facts.agree(
        config, "latent_channels", facts.shape(shapes, "decoder.conv_in.conv.weight")[1]
    )
    encoder = _encoder(facts, config, latent, patch)
    facts.agree(
        {"in_channels": config.get("in_channels", 3) * patch**2},
        "in_channels",
        facts.shape(shapes, "encoder.conv_in.conv.weight")[1],
    )
    return {
        "in_channels": config.get("in_channels", 3),
        "out_channels": config.get("out_channels", 3),
        "latent_channels": latent,
        "patch_size": patch,
        "patch_size_t": 1,
        "resnet_norm_eps": 1e-6,
        "timestep_conditioning": False,
        "encoder_causal": True,
        "decoder_causal": config.get("causal_decoder", False),
        "decoder_spatial_padding_mode": config.get("spatial_padding_mode", "reflect"),
        **encoder,
        **_decoder(facts, config, facts.shape(shapes, "decoder.conv_in.conv.weight")[0]),
    }


def _encoder(facts: Facts, config: Config, latent: int, patch: int) -> dict[str, Any]:
    own = config.get("encoder", config)
    levels = _levels(facts, own.get("encoder_blocks", own.get("blocks", [])), "encoder", "_res")
    channels, width = [], latent
    for _, options in levels.resamplers:
        width *= options.get("multiplier", 1)
        channels.append(width)
    return {
        "block_out_channels": channels,
        "down_block_types": ["LTX2VideoDownBlock3D"] * len(channels),
        "layers_per_block": levels.layers,
        "spatio_temporal_scaling": [True] * len(channels),
        "downsample_type": levels.types,
        "encoder_spatial_padding_mode": own.get(
            "spatial_padding_mode", config.get("encoder_spatial_padding_mode", "zeros")
        ),
        "spatial_compression_ratio": patch * levels.spatial,
        "temporal_compression_ratio": levels.temporal,
    }


def _decoder(facts: Facts, config: Config, widest: int) -> dict[str, Any]:
    """Lists of the config run from the pixels to the latent; diffusers reverses all of them but
    `upsample_type`.
    """
    levels = _levels(facts, config.get("decoder_blocks", []), "decoder", "")
    factors = [options.get("multiplier", 1) for _, options in levels.resamplers]
    base, rest = divmod(widest, prod(factors))
    if rest:
        facts.problems.append(
            f"the decoder starts {widest} wide, which its multipliers {factors} do not divide"
        )
    width = facts.agree(config, "decoder_base_channels", base)
    channels = []
    for factor in factors:
        width *= factor
        channels.append(width)
    return {
        "decoder_block_out_channels": channels,
        "decoder_layers_per_block": levels.layers,
        "decoder_spatio_temporal_scaling": [True] * len(factors),
        "decoder_inject_noise": levels.noise,
        "upsample_type": levels.types[::-1],
        "upsample_residual": [options.get("residual", False) for _, options in levels.resamplers],
        "upsample_factor": factors,
    }


class _Levels:
    """The block list of one side of the video VAE: residual levels with a resampler between each
    two.
    """

    def __init__(self) -> None:
        self.layers: list[int] = []
        self.noise: list[bool] = []
        self.types: list[str] = []
        self.resamplers: list[tuple[str, Config]] = []
        self.spatial = 1
        self.temporal = 1


def _levels(facts: Facts, blocks: list[Any], side: str, suffix: str) -> _Levels:
    levels = _Levels()
    known = {f"compress_{name}{suffix}": value for name, value in _RESAMPLING.items()}
    for index, (name, options) in enumerate(blocks):
        if index % 2 == 0 and name == "res_x":
            # Older configs write the number of layers, or the multiplier, in place of the options.
            options = options if isinstance(options, Mapping) else {"num_layers": options}
            levels.layers.append(options["num_layers"])
            levels.noise.append(options.get("inject_noise", False))
        elif index % 2 == 1 and name in known:
            options = options if isinstance(options, Mapping) else {"multiplier": options}
            kind, spatial, temporal = known[name]
            levels.types.append(kind)
            levels.resamplers.append((name, options))
            levels.spatial *= spatial
            levels.temporal *= temporal
        else:
            facts.problems.append(
                f"{side} block {index} is {name!r}; {_expected(index, known)} was expected there"
            )
    if len(levels.layers) != len(levels.types) + 1:
        facts.problems.append(f"the config has no complete list of {side} blocks")
    return levels


def _expected(index: int, known: Mapping[str, Any]) -> str:
    return " or ".join(known) if index % 2 else "res_x"


def audio_vae(facts: Facts, original: Config, shapes: Shapes, _width: int | None) -> dict[str, Any]:
    config = part(facts, original, "audio_vae")
    model = config.get("model", {}).get("params", {})
    network = model.get("ddconfig", {})
    stft = config.get("preprocessing", {}).get("stft", {})
    mel = config.get("preprocessing", {}).get("mel", {})
    latent = facts.shape(shapes, "decoder.conv_in.conv.weight")[1]
    attention = any(".mid.attn_1." in name for name in shapes)
    return {
        "base_channels": facts.agree(
            network, "ch", facts.shape(shapes, "encoder.conv_in.conv.weight")[0]
        ),
        "output_channels": facts.agree(
            network, "out_ch", facts.shape(shapes, "decoder.conv_out.conv.weight")[0]
        ),
        "ch_mult": facts.agree(network, "ch_mult", None),
        "num_res_blocks": facts.agree(
            network, "num_res_blocks", children(shapes, "encoder.down.0.block.")
        ),
        "attn_resolutions": network.get("attn_resolutions") or None,
        "in_channels": facts.agree(
            network, "in_channels", shapes["encoder.conv_in.conv.weight"][1]
        ),
        "resolution": network.get("resolution", 256),
        "latent_channels": facts.agree(network, "z_channels", latent),
        "norm_type": network.get("norm_type", "pixel"),
        "causality_axis": network.get("causality_axis", "height"),
        "dropout": network.get("dropout", 0.0),
        "mid_block_add_attention": facts.agree(network, "mid_block_add_attention", attention),
        "sample_rate": model.get("sampling_rate", AUDIO_RATE),
        "mel_hop_length": stft.get("hop_length", AUDIO_HOP),
        "is_causal": stft.get("causal", True),
        "mel_bins": network.get("mel_bins") or mel.get("n_mel_channels", 64),
        "double_z": facts.agree(
            network,
            "double_z",
            facts.shape(shapes, "encoder.conv_out.conv.weight")[0] == 2 * latent,
        ),
    }


def vocoder(facts: Facts, original: Config, shapes: Shapes, _width: int | None) -> dict[str, Any]:
    """2.0: one vocoder. 2.3 and later: a 16 kHz vocoder and its bandwidth extension.

    `final_act_fn` is what the file says; the clamp of the 16 kHz stage is added by
    pipelines.upstream.vocoder_clamp.
    """
    config = part(facts, original, "vocoder")
    if "vocoder.conv_in.weight" not in shapes:
        single = _generator(facts, config, shapes, "")
        return {**single, "output_sampling_rate": config.get("output_sampling_rate", 24000)}
    first, second = config.get("vocoder", {}), config.get("bwe", {})
    basis = facts.shape(shapes, "mel_stft.stft_fn.forward_basis")
    mels = facts.shape(shapes, "mel_stft.mel_basis")[0]
    extension = _generator(facts, second, shapes, "bwe_generator.")
    return {
        **_generator(facts, first, shapes, "vocoder."),
        **{f"bwe_{name}": value for name, value in extension.items()},
        "filter_length": facts.agree(second, "n_fft", basis[2]),
        "window_length": second.get("win_length", basis[2]),
        "hop_length": facts.agree(second, "hop_length", None, 80),
        "num_mel_channels": facts.agree(second, "num_mels", mels),
        "input_sampling_rate": second.get("input_sampling_rate", 16000),
        "output_sampling_rate": second.get("output_sampling_rate", 48000),
    }


def _generator(facts: Facts, config: Config, shapes: Shapes, prefix: str) -> dict[str, Any]:
    amplified = any(name.startswith(f"{prefix}resnets.0.acts1.") for name in shapes)
    kind = config.get("resblock", "1")
    if (kind == "AMP1") is not amplified:
        facts.problems.append(
            f"the config says resblock = {kind!r}, the tensors are of another kind"
        )
    first = facts.shape(shapes, f"{prefix}conv_in.weight")
    count = children(shapes, f"{prefix}upsamplers.")
    kernels = [
        facts.shape(shapes, f"{prefix}upsamplers.{index}.weight")[2] for index in range(count)
    ]
    arguments: dict[str, Any] = {
        "in_channels": first[1],
        "hidden_channels": facts.agree(config, "upsample_initial_channel", first[0]),
        "out_channels": facts.shape(shapes, f"{prefix}conv_out.weight")[0],
        "upsample_kernel_sizes": facts.agree(config, "upsample_kernel_sizes", kernels),
        "upsample_factors": facts.agree(config, "upsample_rates", None),
        "resnet_kernel_sizes": facts.agree(config, "resblock_kernel_sizes", None, [3, 7, 11]),
        "resnet_dilations": facts.agree(config, "resblock_dilation_sizes", None, [[1, 3, 5]] * 3),
        "act_fn": config.get("activation", "snake") if amplified else "leaky_relu",
        "antialias": amplified,
        "final_act_fn": "tanh" if config.get("use_tanh_at_final", True) else None,
        "final_bias": facts.agree(config, "use_bias_at_final", f"{prefix}conv_out.bias" in shapes),
    }
    if amplified:
        taps = facts.shape(shapes, f"{prefix}resnets.0.acts1.0.upsample.filter")
        return {**arguments, "antialias_ratio": 2, "antialias_kernel_size": taps[2]}
    return {**arguments, "leaky_relu_negative_slope": 0.1}


def diffusion_decoder(
    facts: Facts, original: Config, shapes: Shapes, _width: int | None
) -> dict[str, Any]:
    config = part(facts, original, "vae")
    own = config.get("decoder", config)
    kernels = facts.agree(own, "stage_kernels", None) or []
    upsamples = facts.agree(own, "upsamples", None) or []
    blocks = children(shapes, "decoder.diff_blocks.")
    depths = [children(shapes, f"decoder.det_stages.{stage}.") for stage in range(len(upsamples))]
    return {
        "out_channels": own.get("out_channels", 3),
        "latent_channels": facts.agree(
            own, "in_channels", facts.shape(shapes, "decoder.conv_in.weight")[1]
        ),
        "patch_size": own.get("patch_size", 4),
        "decoder_head_dim": own.get("head_dim", own.get("na_head_dim", 64)),
        "decoder_stage_channels": facts.agree(own, "stage_channels", None),
        "decoder_stage_depths": facts.agree(own, "stage_depths", [*depths, blocks]),
        "decoder_stage_kernels": kernels[: len(upsamples)],
        "decoder_upsample_strides": [stride for stride, _ in upsamples],
        "decoder_upsample_channel_reductions": [reduction for _, reduction in upsamples],
        "decoder_stage5_kernel": own.get("stage5_kernel") or kernels[-1],
        "decoder_t_emb_dim": facts.agree(
            own, "t_emb_dim", facts.shape(shapes, "decoder.shared_adaln.proj.weight")[1]
        ),
        # Defaults of the original where the file is silent; they differ from those of the diffusers
        # class.
        "decoder_timestep_scale_multiplier": own.get("timestep_scale_multiplier", 1.0),
        "decoder_num_inference_steps": own.get("default_num_inference_steps", 2),
        "decoder_model_output_type": config.get("model_output_type", "v"),
    }
