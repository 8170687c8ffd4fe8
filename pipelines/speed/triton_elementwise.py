"""`Elementwise` as one Triton kernel an operation. Where a kernel does not apply, torch's own."""

from functools import lru_cache

import torch
import triton
from torch import Tensor, nn

from pipelines.speed import kernels
from pipelines.speed.elementwise import Modulation, Plain
from pipelines.speed.products import FP8, LARGEST, SMALLEST, Quantised
from pipelines.speed.rotary import Tables
from pipelines.speed.runs import Levels


@lru_cache(maxsize=16)
def _rows(levels: Levels, device: torch.device) -> Tensor:
    """Row of each token; on the device once a pass and not once a kernel."""
    return levels.rows(device)


class Triton(Plain):
    """The operations of a block on CUDA; equal to `Plain` but for where it rounds."""

    def modulated(
        self, norm: nn.Module, x: Tensor, modulation: Modulation, levels: Levels | None
    ) -> Tensor:
        """As in `Elementwise`."""
        if _has_weight(norm) or _by_token(modulation[0], levels):
            return super().modulated(norm, x, modulation, levels)
        return self._modulated(norm, x, modulation, None, levels)[0]

    def modulated_twice(
        self,
        norm: nn.Module,
        x: Tensor,
        one: Modulation,
        other: Modulation,
        levels: Levels | None,
    ) -> tuple[Tensor, Tensor]:
        """As in `Elementwise`."""
        if _has_weight(norm) or _by_token(one[0], levels):
            return super().modulated_twice(norm, x, one, other, levels)
        return self._modulated(norm, x, one, other, levels)

    def _modulated(
        self,
        norm: nn.Module,
        x: Tensor,
        one: Modulation,
        other: Modulation | None,
        levels: Levels | None,
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        (scale, shift), (other_scale, other_shift) = one, other or one
        strides = _shared_strides(scale, shift, other_scale, other_shift)
        out = torch.empty_like(x)
        other_out = torch.empty_like(x) if other else out
        batch, tokens, width = x.shape
        kernels.modulate[(batch * tokens,)](
            x,
            scale,
            shift,
            other_scale,
            other_shift,
            out,
            other_out,
            x if levels is None else _rows(levels, x.device),
            tokens,
            *strides,
            norm.eps,
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
            BY_LEVEL=levels is not None,
            TWICE=other is not None,
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

    def head_gated(self, x: Tensor, logits: Tensor) -> Tensor:
        """As in `Elementwise`."""
        x = x if x.stride(-1) == 1 else x.contiguous()
        batch, tokens, heads, head = x.shape
        out = x.new_empty(batch, tokens, heads * head)
        kernels.gate_heads[(batch * tokens,)](
            x,
            logits.contiguous(),
            out,
            tokens,
            heads,
            *x.stride()[:3],
            HEAD=head,
            WIDTH=heads * head,
            BLOCK=triton.next_power_of_2(heads * head),
        )
        return out

    def quantised(self, x: Tensor) -> Quantised:
        """As in `Elementwise`."""
        x = x.contiguous()
        *rows, width = x.shape
        data, scale = torch.empty_like(x, dtype=FP8), x.new_empty(*rows, 1, dtype=torch.float32)
        kernels.quantise_rows[(scale.numel(),)](
            x,
            data,
            scale,
            LARGEST=LARGEST,
            SMALLEST=SMALLEST,
            WIDTH=width,
            BLOCK=triton.next_power_of_2(width),
        )
        return Quantised(data, scale)


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
