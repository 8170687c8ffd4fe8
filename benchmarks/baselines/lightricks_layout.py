"""Lightricks' configuration and tensor names for our parts, which are diffusers' modules."""

import re
from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

# Elements of a tensor's path, ours and theirs.
_TRANSFORMER = {
    "proj_in": "patchify_proj",
    "audio_proj_in": "audio_patchify_proj",
    "time_embed": "adaln_single",
    "audio_time_embed": "audio_adaln_single",
    "prompt_adaln": "prompt_adaln_single",
    "audio_prompt_adaln": "audio_prompt_adaln_single",
    "av_cross_attn_video_scale_shift": "av_ca_video_scale_shift_adaln_single",
    "av_cross_attn_video_a2v_gate": "av_ca_a2v_gate_adaln_single",
    "av_cross_attn_audio_scale_shift": "av_ca_audio_scale_shift_adaln_single",
    "av_cross_attn_audio_v2a_gate": "av_ca_v2a_gate_adaln_single",
    "video_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_video",
    "audio_a2v_cross_attn_scale_shift_table": "scale_shift_table_a2v_ca_audio",
    "norm_q": "q_norm",
    "norm_k": "k_norm",
}
# What every LTX-2 has and diffusers' class knows by itself; their configurator asks for it.
_ALWAYS = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "av_cross_ada_norm": True,
    "cross_attention_norm": True,
    "double_self_attention": False,
    "dropout": 0.0,
    "norm_elementwise_affine": False,
    "num_embeds_ada_norm": 1000,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "positional_embedding_type": "rope",
    "qk_norm": "rms_norm",
    "share_ff": False,
    "standardization_norm": "rms_norm",
    "upcast_attention": False,
    "use_audio_video_cross_attention": True,
    "use_linear_projection": False,
    "use_middle_indices_grid": True,
}
_STATISTICS = {
    "latents_mean": "per_channel_statistics.mean-of-means",
    "latents_std": "per_channel_statistics.std-of-means",
}
_LEVEL = re.compile(r"mid_block\.|up_blocks\.(\d+)\.(upsamplers\.0\.)?")
_RESAMPLERS = {
    "spatial": "compress_space",
    "temporal": "compress_time",
    "spatiotemporal": "compress_all",
}
_WIDENING = 8  # their decoder begins so many times its base wide, whatever its blocks narrow


def transformer_name(ours: str) -> str:
    """Their name of a tensor of the transformer."""
    return ".".join(_TRANSFORMER.get(part, part) for part in ours.split("."))


def decoder_name(ours: str) -> str | None:
    """Their decoder's name of a tensor of the video VAE; None for one of the encoder."""
    if ours in _STATISTICS:
        return _STATISTICS[ours]
    if not ours.startswith("decoder."):
        return None
    return _LEVEL.sub(_level, ours.removeprefix("decoder."), count=1).replace(
        ".resnets.", ".res_blocks."
    )


def _level(match: re.Match[str]) -> str:
    """Their one list: the middle, then an upsampler before each level."""
    if match[1] is None:
        return "up_blocks.0."
    return f"up_blocks.{2 * int(match[1]) + (1 if match[2] else 2)}."


def transformer_config(ours: Config) -> dict[str, Any]:
    """What their configurator reads of a file. Raises ValueError for what theirs cannot be."""
    problems = []
    if not ours["ff_bias"]:
        problems.append("feed-forward layers without bias")
    if ours["use_keyframes_abs_pos_embedding"]:
        problems.append("positions of keyframes")
    if ours["gated_attn"] != ours["audio_gated_attn"]:
        problems.append("gates in one stream alone")
    if ours["cross_attn_mod"] != ours["audio_cross_attn_mod"]:
        problems.append("a modulated prompt in one stream alone")
    if problems:
        raise ValueError(f"its transformer has no {', no '.join(problems)}")
    same = (
        *("in_channels", "out_channels", "num_attention_heads", "attention_head_dim"),
        "cross_attention_dim",
    )
    both = {
        f"{prefix}{name}": ours[f"{prefix}{name}"] for name in same for prefix in ("", "audio_")
    }
    return {
        **_ALWAYS,
        **both,
        "num_layers": ours["num_layers"],
        "norm_eps": ours["norm_eps"],
        "caption_channels": ours["caption_channels"],
        "caption_proj_before_connector": not ours["use_prompt_embeddings"],
        "cross_attention_adaln": ours["cross_attn_mod"],
        "apply_gated_attention": ours["gated_attn"],
        "positional_embedding_theta": ours["rope_theta"],
        "positional_embedding_max_pos": [
            ours["pos_embed_max_pos"],
            ours["base_height"],
            ours["base_width"],
        ],
        "audio_positional_embedding_max_pos": [ours["audio_pos_embed_max_pos"]],
        "rope_type": ours["rope_type"],
        "frequencies_precision": "float64" if ours["rope_double_precision"] else "float32",
        "timestep_scale_multiplier": ours["timestep_scale_multiplier"],
        "av_ca_timestep_scale_multiplier": ours["cross_attn_timestep_scale_multiplier"],
    }


def decoder_config(ours: Config) -> dict[str, Any]:
    """The same for the decoder: blocks from the pixels to the latent, as a file lists them."""
    layers, noise = ours["decoder_layers_per_block"], ours["decoder_inject_noise"]
    # diffusers lists these two from the latent to the pixels, unlike its other lists.
    kinds, factors = ours["upsample_type"][::-1], ours["upsample_factor"]
    blocks: list[tuple[str, dict[str, Any]]] = []
    for index, count in enumerate(layers):
        blocks.append(("res_x", {"num_layers": count, "inject_noise": noise[index]}))
        if index < len(factors):
            residual = bool(ours["upsample_residual"][index])
            if residual and kinds[index] != "spatiotemporal":
                raise ValueError(f"its decoder has no residual {kinds[index]} upsampler")
            options = {"multiplier": factors[index], "residual": residual}
            blocks.append((_RESAMPLERS[kinds[index]], options))
    widest = ours["decoder_block_out_channels"][-1]
    base, rest = divmod(widest, _WIDENING)
    if rest:
        raise ValueError(f"its decoder is a multiple of {_WIDENING} wide, and this is {widest}")
    return {
        "dims": 3,
        "latent_channels": ours["latent_channels"],
        "out_channels": ours["out_channels"],
        "patch_size": ours["patch_size"],
        "norm_layer": "pixel_norm",
        "decoder_blocks": blocks,
        "decoder_base_channels": base,
        "causal_decoder": ours["decoder_causal"],
        "timestep_conditioning": ours["timestep_conditioning"],
        "spatial_padding_mode": ours["decoder_spatial_padding_mode"],
    }
