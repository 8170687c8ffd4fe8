"""The arithmetic of one LTX-2 transformer block, on the modules of diffusers' own.

diffusers' block needs scale, shift and gate of every token and takes each elementwise operation by
itself. Here they come by noise level, and what lies between matrix products goes through
`Elementwise`, which may be one kernel an operation. Weights, LoRA layers and rounded layers are
those of the module: nothing is copied.
"""

from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from pipelines.speed.elementwise import Elementwise
from pipelines.speed.products import Fed, Wanted, products, wanted
from pipelines.speed.rotary import Tables
from pipelines.speed.runs import Levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What differs between calls of one block, beside its tensors."""

    levels: Levels | None  # of the video tokens; None where all have one
    skip_video: bool = False  # the self-attention of this stream gives its values back
    skip_audio: bool = False
    cross: bool = True  # whether the streams see one another


def block_forward(
    block: Any,  # noqa: ANN401 - diffusers' block; torch types a module's attributes as unions
    ops: Elementwise,
    call: Call,
    video: Tensor,
    audio: Tensor,
    video_text: Tensor,
    audio_text: Tensor,
    given: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Both streams, (batch, tokens, width), after the block.

    `given` holds the modulation and rotary tables under diffusers' names.
    """
    levels = call.levels
    video_rows = modulation(block.scale_shift_table, given["temb"])
    audio_rows = modulation(block.audio_scale_shift_table, given["temb_audio"])

    shift, scale, gate = video_rows[:3]
    x = ops.modulated(block.norm1, video, (scale, shift), levels, self_input(block.attn1))
    tables = given["video_rotary_emb"]
    x = attend(block.attn1, ops, x, tables=tables, skip=call.skip_video)
    video = ops.gated(video, x, gate, levels)

    shift, scale, gate = audio_rows[:3]
    to = self_input(block.audio_attn1)
    x = ops.modulated(block.audio_norm1, audio, (scale, shift), None, to)
    tables = given["audio_rotary_emb"]
    x = attend(block.audio_attn1, ops, x, tables=tables, skip=call.skip_audio)
    audio = ops.gated(audio, x, gate, None)

    video = _read_text(
        ops,
        video,
        video_text,
        (block.norm2, block.attn2),
        video_rows[6:] if block.video_cross_attn_adaln else None,
        prompt_modulation(block, "prompt_scale_shift_table", given["temb_prompt"], video),
        levels,
    )
    audio = _read_text(
        ops,
        audio,
        audio_text,
        (block.audio_norm2, block.audio_attn2),
        audio_rows[6:] if block.audio_cross_attn_adaln else None,
        prompt_modulation(
            block, "audio_prompt_scale_shift_table", given["temb_prompt_audio"], audio
        ),
        None,
    )
    if call.cross:
        video, audio = _cross(block, ops, levels, video, audio, given)

    shift, scale, gate = video_rows[3:6]
    to = wanted(block.ff.net[0].proj)
    x = feed_forward(block.ff, ops, ops.modulated(block.norm3, video, (scale, shift), levels, to))
    video = ops.gated(video, x, gate, levels)
    shift, scale, gate = audio_rows[3:6]
    to = wanted(block.audio_ff.net[0].proj)
    x = ops.modulated(block.audio_norm3, audio, (scale, shift), None, to)
    x = feed_forward(block.audio_ff, ops, x)
    return video, ops.gated(audio, x, gate, None)


def _read_text(
    ops: Elementwise,
    x: Tensor,
    text: Tensor,
    parts: tuple[Any, Any],
    rows: tuple[Tensor, ...] | None,
    text_rows: tuple[Tensor, Tensor] | None,
    levels: Levels | None,
) -> Tensor:
    """A stream after it has read the prompt; before 2.3 nothing of it is modulated."""
    norm, attention = parts
    if text_rows is not None:
        shift, scale = text_rows
        text = text * (1 + scale) + shift
    context = ops.fed(text, context_input(attention))
    if rows is None:
        return x + attend(attention, ops, ops.fed(norm(x), query_input(attention)), context=context)
    shift, scale, gate = rows
    asks = ops.modulated(norm, x, (scale, shift), levels, query_input(attention))
    return ops.gated(x, attend(attention, ops, asks, context=context), gate, levels)


def _cross(
    block: Any,  # noqa: ANN401
    ops: Elementwise,
    levels: Levels | None,
    video: Tensor,
    audio: Tensor,
    given: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Each stream after it has seen the other as it was before."""
    video_table, audio_table = (
        block.video_a2v_cross_attn_scale_shift_table,
        block.audio_a2v_cross_attn_scale_shift_table,
    )
    to_video, to_video_shift, to_audio, to_audio_shift = modulation(
        video_table[:4], given["temb_ca_scale_shift"]
    )
    from_audio, from_audio_shift, at_audio, at_audio_shift = modulation(
        audio_table[:4], given["temb_ca_audio_scale_shift"]
    )
    (video_gate,) = modulation(video_table[4:], given["temb_ca_gate"])
    (audio_gate,) = modulation(audio_table[4:], given["temb_ca_audio_gate"])
    video_tables, audio_tables = given["ca_video_rotary_emb"], given["ca_audio_rotary_emb"]
    to_see, to_hear = block.audio_to_video_attn, block.video_to_audio_attn
    video_asks, video_tells = ops.modulated_twice(
        block.audio_to_video_norm,
        video,
        (to_video, to_video_shift),
        (to_audio, to_audio_shift),
        levels,
        (query_input(to_see), context_input(to_hear)),
    )
    audio_tells, audio_asks = ops.modulated_twice(
        block.video_to_audio_norm,
        audio,
        (from_audio, from_audio_shift),
        (at_audio, at_audio_shift),
        None,
        (context_input(to_see), query_input(to_hear)),
    )
    seen = attend(
        to_see,
        ops,
        video_asks,
        context=audio_tells,
        tables=video_tables,
        context_tables=audio_tables,
    )
    heard = attend(
        to_hear,
        ops,
        audio_asks,
        context=video_tells,
        tables=audio_tables,
        context_tables=video_tables,
    )
    # The gates follow the other stream's noise: one row, or one a level where diffusers made them.
    gate_levels = levels if video_gate.shape[1] > 1 else None
    return ops.gated(video, seen, video_gate, gate_levels), ops.gated(
        audio, heard, audio_gate, None
    )


def self_input(attention: Any) -> Wanted:  # noqa: ANN401
    """What an attention wants of tokens that attend to themselves."""
    return wanted(attention.to_q, attention.to_k, attention.to_v, attention.to_gate_logits)


def query_input(attention: Any) -> Wanted:  # noqa: ANN401
    """What it wants of tokens that ask others."""
    return wanted(attention.to_q, attention.to_gate_logits)


def context_input(attention: Any) -> Wanted:  # noqa: ANN401
    """What it wants of those others."""
    return wanted(attention.to_k, attention.to_v)


def attend(
    attention: Any,  # noqa: ANN401 - diffusers' attention module
    ops: Elementwise,
    x: Fed,
    *,
    context: Fed | None = None,
    tables: Tables | None = None,
    context_tables: Tables | None = None,
    skip: bool = False,
) -> Tensor:
    """Attention of x on itself or on a context; `skip` gives the values back (STG)."""
    heads, kind = attention.heads, attention.rope_type
    to_query, to_key = (None, None) if skip else (attention.to_q, attention.to_k)
    to_value, to_gates = attention.to_v, attention.to_gate_logits
    value, key = products(x if context is None else context, to_value, to_key)
    query, gates = products(x, to_query, to_gates)
    if skip:
        out = value.unflatten(2, (heads, -1))
    else:
        query = ops.rotated(attention.norm_q, query, tables, heads, kind)
        key = ops.rotated(attention.norm_k, key, context_tables or tables, heads, kind)
        processor = attention.processor
        out = dispatch_attention_fn(
            query,
            key,
            value.unflatten(2, (heads, -1)),
            attn_mask=None,
            dropout_p=0.0,
            is_causal=False,
            backend=processor._attention_backend,
            parallel_config=processor._parallel_config,
        ).to(query.dtype)
    last = attention.to_out[0]
    if gates is None:
        out = ops.fed(out.flatten(2, 3), wanted(last))
    else:
        out = ops.head_gated(out, gates, wanted(last))
    return products(out, last)[0]


def feed_forward(layers: Any, ops: Elementwise, x: Fed) -> Tensor:  # noqa: ANN401 - diffusers'
    """Two products with the activation between them; diffusers' dropout is none at inference."""
    activation, _, last = layers.net
    x = ops.activated(activation, products(x, activation.proj)[0], wanted(last))
    return products(x, last)[0]


def modulation(table: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
    """A block's own table added to what the noise level gives, one (batch, levels, width) each."""
    count = table.shape[0]
    values = table[None, None].to(rows.device) + rows.unflatten(2, (count, -1))
    return values.unbind(dim=2)


def prompt_modulation(
    block: nn.Module, name: str, rows: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Shift and scale of the prompt; of the table alone where the noise level does not count."""
    table = getattr(block, name, None)
    if table is None:
        return None
    if rows is not None:
        shift, scale = modulation(table, rows)
    else:
        shift, scale = table[None, None].to(like.device, like.dtype).unbind(dim=2)
    return shift, scale
