"""What a transformer block does between its matrix products, in plain torch.

The order and the types of every operation are diffusers', so that results are its own to the last
bit wherever all tokens have one noise level. `triton_elementwise` has the same operations as one
kernel each.

`levels` None means that scale, shift and gate (batch, 1, width) go for all tokens; otherwise they
are (batch, levels, width), and each stretch of tokens takes its own row. `to` is what the products
that follow want of a result.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from diffusers.models.transformers.transformer_ltx2 import (
    apply_interleaved_rotary_emb,
    apply_split_rotary_emb,
)
from torch import Tensor, nn

from pipelines.speed.products import Fed, Wanted, fed
from pipelines.speed.rotary import Tables
from pipelines.speed.runs import Levels

Modulation = tuple[Tensor, Tensor]  # scale and shift


class Elementwise(Protocol):
    """The operations between the matrix products of a block."""

    def modulated(
        self, norm: nn.Module, x: Tensor, modulation: Modulation, levels: Levels | None, to: Wanted
    ) -> Fed:
        """norm(x) * (1 + scale) + shift."""
        ...

    def modulated_twice(
        self,
        norm: nn.Module,
        x: Tensor,
        one: Modulation,
        other: Modulation,
        levels: Levels | None,
        to: tuple[Wanted, Wanted],
    ) -> tuple[Fed, Fed]:
        """Two modulations of one norm."""
        ...

    def gated(self, x: Tensor, change: Tensor, gate: Tensor, levels: Levels | None) -> Tensor:
        """x + change * gate."""
        ...

    def rotated(
        self, norm: nn.Module, x: Tensor, tables: Tables | None, heads: int, kind: str
    ) -> Tensor:
        """norm(x) turned by its positions, as (batch, tokens, heads, width of a head)."""
        ...

    def head_gated(self, x: Tensor, logits: Tensor, to: Wanted) -> Fed:
        """(batch, tokens, heads, width) by 2 * sigmoid(logits), as (batch, tokens, all widths)."""
        ...

    def activated(self, activation: nn.Module, x: Tensor, to: Wanted) -> Fed:
        """What a feed-forward layer does between its products."""
        ...

    def fed(self, x: Tensor, to: Wanted) -> Fed:
        """What was computed otherwise."""
        ...


class Plain:
    """Each operation as diffusers has it."""

    def modulated(
        self, norm: nn.Module, x: Tensor, modulation: Modulation, levels: Levels | None, to: Wanted
    ) -> Fed:
        """As in `Elementwise`."""
        return fed(_affine(norm(x), modulation, levels), to)

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
        normed = norm(x)
        return (
            fed(_affine(normed, one, levels), to[0]),
            fed(_affine(normed, other, levels), to[1]),
        )

    def gated(self, x: Tensor, change: Tensor, gate: Tensor, levels: Levels | None) -> Tensor:
        """As in `Elementwise`."""
        if levels is None:
            return x + change * gate
        return _by_run(
            levels,
            x,
            lambda out, part, row: torch.add(x[:, part], change[:, part] * gate[:, row], out=out),
        )

    def rotated(
        self, norm: nn.Module, x: Tensor, tables: Tables | None, heads: int, kind: str
    ) -> Tensor:
        """As in `Elementwise`."""
        normed = norm(x)
        if tables is not None:
            turn = apply_split_rotary_emb if kind == "split" else apply_interleaved_rotary_emb
            rows = (normed.shape[0], *(-1,) * (tables[0].ndim - 1))
            normed = turn(normed, (tables[0].expand(rows), tables[1].expand(rows)))
        return normed.unflatten(2, (heads, -1))

    def head_gated(self, x: Tensor, logits: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`."""
        return fed((x * (2.0 * torch.sigmoid(logits)).unsqueeze(-1)).flatten(2, 3), to)

    def activated(self, activation: nn.Module, x: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`."""
        return fed(activation.gelu(x), to)

    def fed(self, x: Tensor, to: Wanted) -> Fed:
        """As in `Elementwise`."""
        return fed(x, to)


def _affine(x: Tensor, modulation: Modulation, levels: Levels | None) -> Tensor:
    scale, shift = modulation
    if levels is None:
        return x * (1 + scale) + shift
    more = 1 + scale
    return _by_run(
        levels,
        x,
        lambda out, part, row: torch.mul(x[:, part], more[:, row], out=out).add_(shift[:, row]),
    )


def _by_run(levels: Levels, x: Tensor, write: Callable[[Tensor, slice, slice], object]) -> Tensor:
    """A tensor like x, written stretch by stretch: its place, the tokens and their level's row."""
    out = torch.empty_like(x)
    for run in levels.runs:
        part = slice(run.start, run.end)
        write(out[:, part], part, slice(run.level, run.level + 1))
    return out
