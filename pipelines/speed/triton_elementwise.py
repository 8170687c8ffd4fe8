"""`Elementwise` as one Triton kernel an operation. Where a kernel does not apply, torch's own."""

from functools import lru_cache

import torch
import triton
from torch import Tensor, nn

from pipelines.speed import kernels
from pipelines.speed.elementwise import Modulation, Plain
from pipelines.speed.products import FP8, LARGEST, SMALLEST, Fed, Quantised, Wanted
from pipelines.speed.rotary import Tables
from pipelines.speed.runs import Levels

_FP8 = {"LARGEST": LARGEST, "SMALLEST": SMALLEST}
# A token of a feed-forward layer is four times as wide: 32 values a thread, none of them spilled.
WARPS_OF_HIDDEN = 16


@lru_cache(maxsize=16)
def _rows(levels: Levels, device: torch.device) -> Tensor:
    """Row of each token; on the device once a pass and not once a kernel."""
    return levels.rows(device)


class Triton(Plain):
    """The operations of a block on CUDA; equal to `Plain` but for where it rounds."""

    def modulated(
        self, norm: nn.Module, x: Tensor, modulation: Modulation, levels: Levels | None, to: Wanted
    ) -> Fed:
        """As in `Elementwise`."""
        if _has_weight(norm) or _by_token(modulation[0], levels):
            return super().modulated(norm, x, modulation, levels, to)
        return self._modulated(norm, x, modulation, None, levels, (to, to))[0]

    def modulated_twice(
        self,
        norm: nn.Module,
        x: Tensor,
        one: Modulation,
        other: Modulation,
        levels: Levels | None,
        to: tuple[Wanted, Wanted],
    ) -> tuple[Fed, Fed]:
        """As in `Elementwise`."""
        if _has_weight(norm) or _by_token(one[0], levels):
            return super().modulated_twice(norm, x, one, other, levels, to)
        return self._modulated(norm, x, one, other, levels, to)

    def _modulated(
        self,
        norm: nn.Module,
        x: Tensor,
        one: Modulation,
        other: Modulation | None,
        levels: Levels | None,
        to: tuple[Wanted, Wanted],
    ) -> tuple[Fed, Fed]:
        x = x.contiguous()
        (scale, shift), (other_scale, other_shift) = one, other or one
        strides = _shared_strides(scale, shift, other_scale, other_shift)
        out = _room(x, x.shape, to[0])
        other_out = _room(x, x.shape, to[1]) if other else out
        batch, tokens, width = x.shape
        kernels.modulate[(batch * tokens,)](
            x,
            scale,
            shift,
            other_scale,
            other_shift,
            *_places(out, x),
            *_places(other_out, x),
            x if levels is None else _rows(levels, x.device),
            tokens,
            *strides,
            norm.eps,
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
            BY_LEVEL=levels is not None,
            TWICE=other is not None,
            EXACT=to[0].exact,
            ROUNDED=to[0].rounded,
            OTHER_EXACT=to[1].exact,
            OTHER_ROUNDED=to[1].rounded,
            **_FP8,
        )
        return out, other_out

    def gated(self, x: Tensor, change: Tensor, gate: Tensor, levels: Levels | None) -> Tensor:
        """As in `Elementwise`."""
        if _by_token(gate, levels):
            return super().gated(x, change, gate, levels)
        x, change = x.contiguous(), change.contiguous()
        out = torch.empty_like(x)
        batch, tokens, width = x.shape
        kernels.gate[(batch * tokens,)](
            x,
            change,
            gate,
            out,
            x if levels is None else _rows(levels, x.device),
            tokens,
            *_shared_strides(gate),
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
            BY_LEVEL=levels is not None,
        )
        return out

    def rotated(
        self, norm: nn.Module, x: Tensor, tables: Tables | None, heads: int, kind: str
    ) -> Tensor:
        """As in `Elementwise`. Without tables it is torch's norm, which is one kernel already."""
        if tables is None or kind != "split":
            return super().rotated(norm, x, tables, heads, kind)
        x = x.contiguous()
        cosine, sine = tables
        if cosine.stride() != sine.stride() or cosine.stride(-1) != 1:
            cosine, sine = cosine.contiguous(), sine.contiguous()
        batch, tokens, width = x.shape
        eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        out = torch.empty_like(x)
        kernels.rotate[(batch * tokens,)](
            x,
            norm.weight,
            cosine,
            sine,
            out,
            tokens,
            cosine.stride(0) if cosine.shape[0] > 1 else 0,
            cosine.stride(1),
            cosine.stride(2),
            eps,
            HALF=width // heads // 2,
            PAIRS=width // 2,
            BLOCK=triton.next_power_of_2(width // 2),
        )
        return out.unflatten(2, (heads, -1))

    def head_gated(self, x: Tensor, logits: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`."""
        x = x if x.stride(-1) == 1 else x.contiguous()
        batch, tokens, heads, head = x.shape
        out = _room(x, (batch, tokens, heads * head), to)
        kernels.gate_heads[(batch * tokens,)](
            x,
            logits.contiguous(),
            *_places(out, x),
            tokens,
            heads,
            *x.stride()[:3],
            HEAD=head,
            WIDTH=heads * head,
            BLOCK=triton.next_power_of_2(heads * head),
            EXACT=to.exact,
            ROUNDED=to.rounded,
            **_FP8,
        )
        return out

    def activated(self, activation: nn.Module, x: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`. Unrounded it is torch's own, which is one kernel already."""
        if not to.rounded or activation.approximate != "tanh":
            return super().activated(activation, x, to)
        x = x.contiguous()
        batch, tokens, width = x.shape
        out = _room(x, x.shape, to)
        kernels.activate[(batch * tokens,)](
            x,
            *_places(out, x),
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
            EXACT=to.exact,
            ROUNDED=True,
            **_FP8,
            num_warps=WARPS_OF_HIDDEN,
        )
        return out

    def fed(self, x: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`."""
        if not to.rounded:
            return super().fed(x, to)
        x = x.contiguous()
        batch, tokens, width = x.shape
        made = _room(x, x.shape, Wanted(exact=False, rounded=True))
        kernels.quantise_rows[(batch * tokens,)](
            x,
            *_places(made, x)[1:],
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
            **_FP8,
        )
        return Fed(x if to.exact else None, made.tokens)


def _room(like: Tensor, shape: tuple[int, ...], to: Wanted) -> Fed:
    """Where a kernel writes what is wanted."""
    exact, tokens = None, None
    if to.exact:
        exact = like.new_empty(shape)
    if to.rounded:
        scale = like.new_empty((*shape[:-1], 1), dtype=torch.float32)
        tokens = Quantised(like.new_empty(shape, dtype=FP8), scale)
    return Fed(exact, tokens)


def _places(room: Fed, unwritten: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same as a kernel's arguments, with something for what it does not write."""
    exact = unwritten if room.exact is None else room.exact
    if room.tokens is None:
        return exact, unwritten, unwritten
    return exact, room.tokens.data, room.tokens.scale


def _has_weight(norm: nn.Module) -> bool:
    return getattr(norm, "weight", None) is not None


def _by_token(rows: Tensor, levels: Levels | None) -> bool:
    """Whether each token brings a row of its own."""
    return levels is None and rows.shape[1] > 1


def _shared_strides(*rows: Tensor) -> tuple[int, int]:
    """Strides over batch and levels, which all rows of one modulation have in common."""
    if len({row.stride() for row in rows}) > 1 or rows[0].stride(-1) != 1:
        raise ValueError("modulation rows must lie alike, with their last dimension together")
    batch, levels = rows[0].stride(0), rows[0].stride(1)
    return (batch if rows[0].shape[0] > 1 else 0), levels
