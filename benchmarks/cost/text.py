"""A prompt's way: the text encoder's layers and the connectors, without a vocabulary's logits."""

from collections.abc import Mapping
from typing import Any

from benchmarks.cost.work import Work, attention, linear


def encoder(config: Any, tokens: int) -> Work:  # noqa: ANN401 - transformers' text configuration
    """One prompt of so many padded tokens through Gemma's layers."""
    hidden, inner = config.hidden_size, config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    layer = (
        linear(tokens, hidden, inner)
        + linear(tokens, hidden, keys) * 2
        + linear(tokens, inner, hidden)
        + linear(tokens, hidden, config.intermediate_size) * 3
        + attention(tokens, tokens, inner)
    )
    return layer * config.num_hidden_layers


def connectors(config: Mapping[str, Any], tokens: int) -> Work:
    """Hidden states of every layer to the contexts of video and audio."""
    features = config["caption_channels"] * config["text_proj_in_factor"]
    apart = config["per_modality_projections"]
    projected = (
        config["video_hidden_dim"] + config["audio_hidden_dim"]
        if apart
        else config["caption_channels"]
    )
    work = linear(tokens, features, projected)
    for stream in ("video", "audio"):
        heads = config[f"{stream}_connector_num_attention_heads"]
        width = heads * config[f"{stream}_connector_attention_head_dim"]
        layer = linear(tokens, width, width) * 4 + linear(tokens, width, 4 * width) * 2
        layer += attention(tokens, tokens, width)
        if config[f"{stream}_gated_attn"]:
            layer += linear(tokens, width, heads)
        work += layer * config[f"{stream}_connector_num_layers"]
    return work
