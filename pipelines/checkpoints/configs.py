"""Constructor arguments of the diffusers 0.42 modules, from what original files say of themselves.

Where a field and a shape tell the same thing they must agree; where the field is missing the shape
decides; what diffusers cannot express is refused by name. No torch.
"""

from collections.abc import Callable
from math import prod
from typing import Any

from pipelines.checkpoints import autoencoders
from pipelines.checkpoints.autoencoders import AUDIO_HOP, AUDIO_RATE
from pipelines.checkpoints.facts import (
    Config,
    Facts,
    Shapes,
    children,
    gate_heads,
    head_split,
    part,
)

# hidden size x (layers + 1) of the text encoder that every released generation was trained with:
# Gemma 12B.
GEMMA_12B = (3840, 49)
_MODULATED_ROWS = 9  # of a block's table where the prompt's attention is modulated too; else 6
_AUDIO_SCALE = 4  # mel frames per audio latent
_VAE_SCALE = (8, 32, 32)  # frames, rows and columns per video latent


def diffusers_config(
    component: str, original: Config, shapes: Shapes, *, text_width: int | None = None
) -> dict[str, Any]:
    """Arguments for the component's class.

    `original` is the file's `config` (with its keys `transformer`, `vae`, ...; the upscalers' flat
    one), `shapes` the component's tensors under their diffusers names. `text_width` is the text
    encoder's hidden size: from 2.3 on no tensor of the connectors tells it. Raises CheckpointError
    that names every contradiction and everything that is not supported.
    """
    facts = Facts(component)
    arguments = _BUILDERS[component](facts, original, shapes, text_width)
    facts.settle()
    return arguments


def _transformer(
    facts: Facts, original: Config, shapes: Shapes, width: int | None
) -> dict[str, Any]:
    config = part(facts, original, "transformer")
    for field, accepted in _ONLY_TRANSFORMER.items():
        facts.expect(config, field, *accepted)
    positions = config.get("positional_embedding_max_pos", [20, 2048, 2048])
    audio_vae = _audio_geometry(original)
    return {
        **_stream(facts, config, shapes, "", usual_head=128),
        **_stream(facts, config, shapes, "audio_", usual_head=64),
        **_shared(facts, config, shapes, width),
        "vae_scale_factors": list(_VAE_SCALE),
        "pos_embed_max_pos": positions[0],
        "base_height": positions[1],
        "base_width": positions[2],
        "audio_scale_factor": _AUDIO_SCALE,
        "audio_pos_embed_max_pos": config.get("audio_positional_embedding_max_pos", [20])[0],
        "audio_sampling_rate": audio_vae["rate"],
        "audio_hop_length": audio_vae["hop"],
        "norm_eps": config.get("norm_eps", 1e-6),
        "rope_theta": config.get("positional_embedding_theta", 10000.0),
        "rope_double_precision": config.get("frequencies_precision") == "float64",
        "rope_type": config.get("rope_type", "interleaved"),
        "causal_offset": 1,
        "timestep_scale_multiplier": config.get("timestep_scale_multiplier", 1000),
        "cross_attn_timestep_scale_multiplier": facts.agree(
            config, "av_ca_timestep_scale_multiplier", None
        ),
        "perturbed_attn": True,  # needs no weights; without it STG does nothing and says nothing
    }


def _stream(
    facts: Facts, config: Config, shapes: Shapes, prefix: str, *, usual_head: int
) -> dict[str, Any]:
    """What video (no prefix) and audio ("audio_") each have."""
    projection = facts.shape(shapes, f"{prefix}proj_in.weight")
    block = f"transformer_blocks.0.{prefix}"
    gates = gate_heads(shapes, f"{block}attn1")
    heads, head_dim = head_split(facts, config, prefix, projection[0], gates, usual_head)
    table = facts.shape(shapes, f"{block}scale_shift_table")
    text = facts.shape(shapes, f"{block}attn2.to_k.weight")
    out = facts.shape(shapes, f"{prefix}proj_out.weight")
    return {
        f"{prefix}in_channels": facts.agree(config, f"{prefix}in_channels", projection[1]),
        f"{prefix}out_channels": facts.agree(config, f"{prefix}out_channels", out[0]),
        f"{prefix}patch_size": 1,
        f"{prefix}patch_size_t": 1,
        f"{prefix}num_attention_heads": heads,
        f"{prefix}attention_head_dim": head_dim,
        f"{prefix}cross_attention_dim": facts.agree(
            config, f"{prefix}cross_attention_dim", text[1]
        ),
        f"{prefix}gated_attn": facts.agree(config, "apply_gated_attention", gates is not None),
        f"{prefix}cross_attn_mod": facts.agree(
            config, "cross_attention_adaln", table[0] == _MODULATED_ROWS
        ),
        f"{prefix}ff_bias": facts.agree(
            config, f"{prefix}ff_bias", f"{block}ff.net.2.bias" in shapes
        ),
    }


def _shared(facts: Facts, config: Config, shapes: Shapes, width: int | None) -> dict[str, Any]:
    """What both streams of the transformer share."""
    captions = shapes.get("caption_projection.linear_1.weight")
    facts.agree(config, "caption_proj_before_connector", captions is None)
    # Without a projection of its own the transformer never uses the number.
    channels = config.get("caption_channels", width or GEMMA_12B[0])
    if captions is not None:
        channels = facts.agree(config, "caption_channels", captions[1])
    modulated = "prompt_adaln.linear.weight" in shapes
    return {
        "num_layers": facts.agree(config, "num_layers", children(shapes, "transformer_blocks.")),
        "caption_channels": channels,
        "use_prompt_embeddings": captions is not None,
        # Only asked for where the prompt is modulated at all; the class default then is True.
        "use_prompt_adaln_single": facts.agree(config, "use_prompt_adaln_single", modulated)
        if config.get("cross_attention_adaln", modulated)
        else True,
        "use_keyframes_abs_pos_embedding": facts.agree(
            config, "use_keyframes_abs_pos_embedding", "keyframes_abs_pos_embedding" in shapes
        ),
    }


_ONLY_TRANSFORMER: dict[str, tuple[Any, ...]] = {
    "activation_fn": ("gelu-approximate",),
    "attention_bias": (True,),
    "qk_norm": ("rms_norm",),
    "standardization_norm": ("rms_norm",),
    "norm_elementwise_affine": (False,),
    "positional_embedding_type": ("rope",),
    "rope_type": ("split", "interleaved"),
    "use_audio_video_cross_attention": (True,),
    "use_middle_indices_grid": (True,),
    "av_cross_ada_norm": (True,),
    "share_ff": (False,),
}


def _connectors(
    facts: Facts, original: Config, shapes: Shapes, width: int | None
) -> dict[str, Any]:
    config = part(facts, original, "transformer")
    shared = "text_proj_in.weight" in shapes
    projection = facts.shape(
        shapes, "text_proj_in.weight" if shared else "video_text_proj_in.weight"
    )
    facts.agree(config, "caption_proj_before_connector", not shared)
    channels = _text_channels(facts, config, projection, shared=shared, width=width)
    arguments: dict[str, Any] = {
        "caption_channels": channels,
        "text_proj_in_factor": projection[1] // channels if channels else 0,
        "connector_rope_base_seq_len": config.get("connector_positional_embedding_max_pos", [4096])[
            0
        ],
        "rope_theta": 10000.0,  # their own: they never read positional_embedding_theta
        "rope_double_precision": config.get("frequencies_precision") == "float64",
        "causal_temporal_positioning": False,
        "rope_type": config.get("rope_type", "interleaved"),
        "per_modality_projections": not shared,
        "proj_bias": f"{'' if shared else 'video_'}text_proj_in.bias" in shapes,
    }
    if not shared:
        arguments["video_hidden_dim"] = projection[0]
        arguments["audio_hidden_dim"] = facts.shape(shapes, "audio_text_proj_in.weight")[0]
    for stream, prefix in (("video", ""), ("audio", "audio_")):
        attention = f"{stream}_connector.transformer_blocks.0.attn1"
        inner = facts.shape(shapes, f"{attention}.to_q.weight")[0]
        gates = gate_heads(shapes, attention)
        # The audio connector has the video's heads and layers where it states none of its own; the
        # size of its heads follows from its width.
        own = {
            field: config.get(f"{prefix}connector_{field}", config.get(f"connector_{field}"))
            for field in ("num_attention_heads", "num_layers")
        }
        own["attention_head_dim"] = config.get(f"{prefix}connector_attention_head_dim")
        heads, head_dim = head_split(facts, own, "", inner, gates, 128)
        layers = facts.agree(
            own, "num_layers", children(shapes, f"{stream}_connector.transformer_blocks.")
        )
        registers = shapes.get(f"{stream}_connector.learnable_registers")
        arguments |= {
            f"{stream}_connector_num_attention_heads": heads,
            f"{stream}_connector_attention_head_dim": head_dim,
            f"{stream}_connector_num_layers": layers,
            f"{stream}_connector_num_learnable_registers": registers[0] if registers else None,
            f"{stream}_gated_attn": facts.agree(
                config, "connector_apply_gated_attention", gates is not None
            ),
        }
    return arguments


def _text_channels(
    facts: Facts, config: Config, projection: tuple[int, ...], *, shared: bool, width: int | None
) -> int:
    """Hidden size of the text encoder: the projection takes hidden size x (layers + 1) features."""
    features = projection[1]
    released = GEMMA_12B[0] if features == prod(GEMMA_12B) else None
    found = {
        "the config": config.get("caption_channels"),
        "the text encoder": width,
        "the projection": projection[0] if shared else released,
    }
    told = {source: value for source, value in found.items() if value}
    if not told:
        facts.problems.append(
            f"the projections take {features} features and nothing tells the hidden size; put "
            "the text encoder beside them"
        )
        return 0
    if len(set(told.values())) > 1 or features % next(iter(told.values())):
        listed = ", ".join(f"{source} says {value}" for source, value in told.items())
        facts.problems.append(
            f"the hidden size of the text encoder is unclear: {listed}, for {features} features"
        )
    return next(iter(told.values()))


def _upscaler(facts: Facts, original: Config, shapes: Shapes, _width: int | None) -> dict[str, Any]:
    first = facts.shape(shapes, "initial_conv.weight")
    rational = "upsampler.conv.weight" in shapes
    spatial = facts.agree(original, "spatial_upsample", None)
    if facts.component.startswith("spatial_upscaler") and not spatial:
        facts.problems.append("this file doubles the frame rate; a spatial upscaler is needed here")
    if facts.component == "temporal_upscaler" and not original.get("temporal_upsample"):
        facts.problems.append("this file enlarges the picture; a temporal upscaler is needed here")
    return {
        "in_channels": facts.agree(original, "in_channels", first[1]),
        "mid_channels": facts.agree(original, "mid_channels", first[0]),
        "num_blocks_per_stage": facts.agree(
            original, "num_blocks_per_stage", children(shapes, "res_blocks.")
        ),
        "dims": facts.agree(original, "dims", len(first) - 2),
        "spatial_upsample": spatial,
        "temporal_upsample": facts.agree(original, "temporal_upsample", None, False),
        "rational_spatial_scale": original.get("spatial_scale", 2.0),
        "use_rational_resampler": facts.agree(original, "rational_resampler", rational),
    }


def _duration_head(
    facts: Facts, original: Config, shapes: Shapes, _width: int | None
) -> dict[str, Any]:
    config = original.get("duration_head", {})
    queries, hidden = facts.shape(shapes, "attention_pooler.query_tokens")
    return {
        "video_cross_attention_dim": facts.shape(shapes, "video_input_proj.weight")[1],
        "audio_cross_attention_dim": facts.shape(shapes, "audio_input_proj.weight")[1],
        "pooler_hidden_dim": hidden,
        "num_queries": queries,
        "num_pooler_heads": config.get("num_pooler_heads", 4),
        "mlp_hidden_dim": facts.shape(shapes, "mlp_hidden.weight")[0],
    }


def _audio_geometry(original: Config) -> dict[str, int]:
    audio = original.get("audio_vae", {})
    return {
        "rate": audio.get("model", {}).get("params", {}).get("sampling_rate", AUDIO_RATE),
        "hop": audio.get("preprocessing", {}).get("stft", {}).get("hop_length", AUDIO_HOP),
    }


_Builder = Callable[[Facts, Config, Shapes, int | None], dict[str, Any]]
_BUILDERS: dict[str, _Builder] = {
    "transformer": _transformer,
    "connectors": _connectors,
    "vae": autoencoders.vae,
    "audio_vae": autoencoders.audio_vae,
    "vocoder": autoencoders.vocoder,
    "spatial_upscaler": _upscaler,
    "spatial_upscaler_x1.5": _upscaler,
    "temporal_upscaler": _upscaler,
    "duration_head": _duration_head,
    "diffusion_decoder": autoencoders.diffusion_decoder,
}
