"""Triton kernels of what a transformer block does between its matrix products.

One program a token. Everything is computed in float32 and rounded once, where torch rounds after
each operation: in bfloat16 the results are nearer to float32's than the plain ones, and not equal
to them. What products in fp8 read is rounded to that where it is made, from the result as it would
be without. Imports triton, which only torch's CUDA build brings.
"""

import triton
import triton.language as tl


@triton.jit
def put(
    result,  # float32, one row
    out,  # where it goes as it is, if EXACT; its type is the one that it is rounded to in any case
    data,  # where it goes in fp8, if ROUNDED, with its scale
    scale,
    row,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    EXACT: tl.constexpr,
    ROUNDED: tl.constexpr,
    LARGEST: tl.constexpr,
    SMALLEST: tl.constexpr,
):
    """A row of results as products want it; divided exactly, so that fp8 is what torch gives."""
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    result = result.to(out.dtype.element_ty)
    if EXACT:
        tl.store(out + row * WIDTH + column, result, mask=inside)
    if ROUNDED:
        value = tl.where(inside, result.to(tl.float32), 0.0)
        largest = tl.maximum(tl.max(tl.abs(value), axis=0), SMALLEST)
        value = value * tl.div_rn(LARGEST, largest)
        tl.store(data + row * WIDTH + column, value.to(data.dtype.element_ty), mask=inside)
        tl.store(scale + row, tl.div_rn(largest, LARGEST))


@triton.jit
def modulate(
    x,  # (batch, tokens, WIDTH), contiguous
    scale,  # (batch, levels, WIDTH), all four of one set of strides
    shift,
    other_scale,
    other_shift,
    out,  # as x; data in fp8, and float32 (batch, tokens) of their scales: see `put`
    out_data,
    out_scale,
    other_out,
    other_data,
    other_out_scale,
    levels,  # int32 (tokens,), read where BY_LEVEL
    tokens,
    batch_stride,
    level_stride,
    eps,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BY_LEVEL: tl.constexpr,
    TWICE: tl.constexpr,
    EXACT: tl.constexpr,
    ROUNDED: tl.constexpr,
    OTHER_EXACT: tl.constexpr,
    OTHER_ROUNDED: tl.constexpr,
    LARGEST: tl.constexpr,
    SMALLEST: tl.constexpr,
):
    """RMS norm without a weight, then one modulation of it or two."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    value = tl.load(x + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    value = value * tl.rsqrt(tl.sum(value * value, axis=0) / WIDTH + eps)
    at = batch * batch_stride + column
    if BY_LEVEL:
        at += tl.load(levels + token).to(tl.int64) * level_stride
    scaled = 1.0 + tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
    shifted = tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    result = value * scaled + shifted
    put(
        result, out, out_data, out_scale, row,
        WIDTH, BLOCK, EXACT, ROUNDED, LARGEST, SMALLEST,
    )  # fmt: skip
    if TWICE:
        scaled = 1.0 + tl.load(other_scale + at, mask=inside, other=0.0).to(tl.float32)
        shifted = tl.load(other_shift + at, mask=inside, other=0.0).to(tl.float32)
        result = value * scaled + shifted
        put(
            result, other_out, other_data, other_out_scale, row,
            WIDTH, BLOCK, OTHER_EXACT, OTHER_ROUNDED, LARGEST, SMALLEST,
        )  # fmt: skip


@triton.jit
def gate(
    x,  # (batch, tokens, WIDTH), contiguous, as is `change`
    change,
    factor,  # (batch, levels, WIDTH)
    out,
    levels,
    tokens,
    batch_stride,
    level_stride,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BY_LEVEL: tl.constexpr,
):
    """x + change * factor."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    at = batch * batch_stride + column
    if BY_LEVEL:
        at += tl.load(levels + token).to(tl.int64) * level_stride
    value = tl.load(x + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    moved = tl.load(change + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    share = tl.load(factor + at, mask=inside, other=0.0).to(tl.float32)
    result = value + moved * share
    tl.store(out + row * WIDTH + column, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def rotate(
    x,  # (batch, tokens, heads * 2 * HALF), contiguous
    weight,  # (heads * 2 * HALF,)
    cosine,  # (1 or batch, heads, tokens, HALF) float32, as is `sine`, of the same strides
    sine,
    out,
    tokens,
    batch_stride,
    head_stride,
    token_stride,
    eps,
    HALF: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """RMS norm over all heads with its weight, then each pair (i, HALF + i) of a head is turned."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    pair = tl.arange(0, BLOCK)
    inside = pair < PAIRS
    head, within = pair // HALF, pair % HALF
    first_at = head * (2 * HALF) + within
    start = row * (2 * PAIRS)
    first = tl.load(x + start + first_at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x + start + first_at + HALF, mask=inside, other=0.0).to(tl.float32)
    squares = tl.sum(first * first + second * second, axis=0)
    root = tl.rsqrt(squares / (2 * PAIRS) + eps)
    first *= root * tl.load(weight + first_at, mask=inside, other=0.0).to(tl.float32)
    second *= root * tl.load(weight + first_at + HALF, mask=inside, other=0.0).to(tl.float32)
    at = batch * batch_stride + head * head_stride + token * token_stride + within
    cos = tl.load(cosine + at, mask=inside, other=0.0)
    sin = tl.load(sine + at, mask=inside, other=0.0)
    kind = out.dtype.element_ty
    tl.store(out + start + first_at, (first * cos - second * sin).to(kind), mask=inside)
    tl.store(out + start + first_at + HALF, (second * cos + first * sin).to(kind), mask=inside)


@triton.jit
def gate_heads(
    x,  # (batch, tokens, heads, HEAD), of any strides but the last, which is 1
    logits,  # (batch, tokens, heads), contiguous
    out,  # (batch, tokens, heads * HEAD), contiguous; and in fp8, see `put`
    out_data,
    out_scale,
    tokens,
    heads,
    batch_stride,
    token_stride,
    head_stride,
    HEAD: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    EXACT: tl.constexpr,
    ROUNDED: tl.constexpr,
    LARGEST: tl.constexpr,
    SMALLEST: tl.constexpr,
):
    """x * 2 * sigmoid(logit of its head)."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    head, within = column // HEAD, column % HEAD
    at = batch * batch_stride + token * token_stride + head * head_stride + within
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    logit = tl.load(logits + row * heads + head, mask=inside, other=0.0).to(tl.float32)
    result = value * 2.0 / (1.0 + tl.exp(-logit))
    put(
        result, out, out_data, out_scale, row, WIDTH, BLOCK, EXACT, ROUNDED, LARGEST, SMALLEST
    )  # fmt: skip


@triton.jit
def activate(
    x,  # (batch, tokens, WIDTH), contiguous
    out,  # as x; and in fp8, see `put`
    out_data,
    out_scale,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    EXACT: tl.constexpr,
    ROUNDED: tl.constexpr,
    LARGEST: tl.constexpr,
    SMALLEST: tl.constexpr,
):
    """GELU as it is approximated with tanh, which is a sigmoid of twice its argument."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    value = tl.load(x + row * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    twice = 1.5957691216057308 * (value + 0.044715 * value * value * value)  # sqrt(8 / pi)
    result = value / (1.0 + tl.exp(-twice))
    put(
        result, out, out_data, out_scale, row, WIDTH, BLOCK, EXACT, ROUNDED, LARGEST, SMALLEST
    )  # fmt: skip


@triton.jit
def quantise_rows(
    x,  # (batch, tokens, WIDTH), contiguous
    data,  # see `put`
    scale,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    LARGEST: tl.constexpr,
    SMALLEST: tl.constexpr,
):
    """What no other kernel makes, in fp8."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    value = tl.load(x + row * WIDTH + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    put(value, x, data, scale, row, WIDTH, BLOCK, False, True, LARGEST, SMALLEST)
