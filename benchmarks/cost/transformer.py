"""One forward pass of the transformer, from its configuration and the lengths of its streams."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.cost.work import Work, attention, linear

_TIMESTEP = 256  # features of a timestep before its embedding
_HIDDEN = 4  # width of a feed-forward layer over that of its stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens that one row of a batch has."""

    video: int
    audio: int
    text: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    heads: int
    width: int
    channels: int
    gated: bool
    modulated: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], prefix: str) -> "_Stream":
        heads = config[f"{prefix}num_attention_heads"]
        return cls(
            heads=heads,
            width=heads * config[f"{prefix}attention_head_dim"],
            channels=config[f"{prefix}in_channels"],
            gated=bool(config.get(f"{prefix}gated_attn")),
            modulated=bool(config.get(f"{prefix}cross_attn_mod")),
        )

    def attends(self, queries: int, keys: int, source: int, inner: int, heads: int) -> Work:
        """An attention of this stream's tokens over others of `source` features."""
        work = (
            linear(queries, self.width, inner)
            + linear(keys, source, inner) * 2
            + linear(queries, inner, self.width)
            + attention(queries, keys, inner)
        )
        return work + linear(queries, self.width, heads) if self.gated else work

    def embeds(self, rows: int, outputs: int) -> Work:
        """A timestep's embedding and its projection to so many vectors."""
        return (
            linear(rows, _TIMESTEP, self.width)
            + linear(rows, self.width, self.width)
            + linear(rows, self.width, outputs * self.width)
        )


def forward(
    config: Mapping[str, Any],
    lengths: Lengths,
    *,
    isolated: bool = False,
    perturbed: int = 0,
    timesteps: int = 1,
) -> Work:
    """One row of a batch through the transformer.

    `isolated` cuts the streams apart, `perturbed` blocks go without self-attention, and `timesteps`
    is the number of video tokens with one of their own (1: one for all).
    """
    video, audio = _Stream.of(config, ""), _Stream.of(config, "audio_")
    whole = _block(video, audio, config, lengths, isolated=isolated)
    spared = _self_attention_saved(video, lengths.video) + _self_attention_saved(
        audio, lengths.audio
    )
    blocks = whole * config["num_layers"] + spared * -perturbed
    return blocks + _outside(video, audio, config, lengths, timesteps)


def _block(
    video: _Stream, audio: _Stream, config: Mapping[str, Any], lengths: Lengths, *, isolated: bool
) -> Work:
    work = Work()
    streams = ((video, lengths.video, ""), (audio, lengths.audio, "audio_"))
    for stream, tokens, prefix in streams:
        text = config[f"{prefix}cross_attention_dim"]
        work += stream.attends(tokens, tokens, stream.width, stream.width, stream.heads)
        work += stream.attends(tokens, lengths.text, text, stream.width, stream.heads)
        hidden = _HIDDEN * stream.width
        work += linear(tokens, stream.width, hidden) + linear(tokens, hidden, stream.width)
    if not isolated:  # both ways at the width of the sound
        for stream, tokens, other, keys in (
            (video, lengths.video, audio, lengths.audio),
            (audio, lengths.audio, video, lengths.video),
        ):
            work += stream.attends(tokens, keys, other.width, audio.width, audio.heads)
    return work


def _self_attention_saved(stream: _Stream, tokens: int) -> Work:
    """Queries, keys and the attention itself; values and the output stay."""
    return linear(tokens, stream.width, stream.width) * 2 + attention(tokens, tokens, stream.width)


def _outside(
    video: _Stream, audio: _Stream, config: Mapping[str, Any], lengths: Lengths, timesteps: int
) -> Work:
    """What comes before and after the blocks: projections, timesteps, captions."""
    work = Work()
    for stream, tokens in ((video, lengths.video), (audio, lengths.audio)):
        work += linear(tokens, stream.channels, stream.width) * 2
        rows = timesteps if stream is video else 1
        work += stream.embeds(rows, 9 if stream.modulated else 6)
        work += stream.embeds(rows, 4) + stream.embeds(rows, 1)  # between the streams
        if stream.modulated and config.get("use_prompt_adaln_single", True):
            work += stream.embeds(1, 2)
        if config.get("use_prompt_embeddings", True):
            work += linear(lengths.text, config["caption_channels"], stream.width)
            work += linear(lengths.text, stream.width, stream.width)
    return work
