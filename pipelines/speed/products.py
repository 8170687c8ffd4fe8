"""Linear layers of a block, and what goes into them: as it is, rounded to fp8, or both.

What shares an input shares its rounding, too, and whoever makes the input knows from the layers
that read it what they want: where all of them multiply in fp8, it is never written otherwise. A
layer that is not rounded has its input as it was, and so has the LoRA beside one that is.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
SMALLEST = 1e-12  # of a token's largest value: a token of zeros must not divide by zero


@dataclass(frozen=True, slots=True)
class Quantised:
    """Tokens in fp8, each with a scale of its own: data * scale is about what they were."""

    data: Tensor  # float8_e4m3fn (batch, tokens, width)
    scale: Tensor  # float32 (batch, tokens, 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the layers that read an input need of it."""

    exact: bool
    rounded: bool


@dataclass(frozen=True, slots=True)
class Fed:
    """An input of linear layers, in what they want of it."""

    exact: Tensor | None  # (batch, tokens, width)
    tokens: Quantised | None


def quantised(x: Tensor) -> Quantised:
    """Tokens (batch, tokens, width) rounded so that the largest value of each is fp8's largest.

    Triton's kernels are to give the same to the last bit, on Ada to a step of fp8, unless a token
    is not finite: then what is multiplied is not finite either. How a GPU rounds was not seen yet.
    """
    wide = x.float()
    largest = wide.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
    bound = torch.full_like(largest, LARGEST)  # by a number, torch may multiply with its inverse
    return Quantised((wide * (bound / largest)).to(FP8), largest / bound)


def fed(x: Tensor, wanted: Wanted) -> Fed:
    """An input as it is wanted, rounded in plain torch."""
    return Fed(x if wanted.exact else None, quantised(x) if wanted.rounded else None)


class Fp8Linear(nn.Linear):
    """A linear layer whose weight lies in fp8 and is multiplied so."""

    def forward(self, input: Tensor | None, tokens: Quantised | None = None) -> Tensor:  # noqa: A002 - torch's name
        """The product of `tokens`, which are `input` rounded; of `input` itself without them.

        torch adds the bias within a product of bfloat16 alone.
        """
        tokens = quantised(input) if tokens is None else tokens
        weight, bias = self.weight, self.bias
        within = weight.dtype == torch.bfloat16
        out = torch._scaled_mm(
            tokens.data.flatten(0, -2),
            weight.qdata.t(),  # (in, out), columns together: as it lies
            scale_a=tokens.scale.flatten(0, -2),
            scale_b=weight.scale.t(),
            bias=bias if within else None,
            out_dtype=weight.dtype,
            use_fast_accum=True,
        )
        if bias is not None and not within:
            out = out + bias
        return out.unflatten(0, tokens.data.shape[:-1])


def wanted(*layers: nn.Module | None) -> Wanted:
    """What these layers need of an input that they share; None is no layer."""
    there = [layer for layer in layers if layer is not None]
    rounded = [layer for layer in there if _takes_fp8(layer)]
    exact = len(rounded) < len(there) or any(_adapted(layer) for layer in rounded)
    return Wanted(exact, bool(rounded))


def products(x: Fed, *layers: nn.Module | None) -> tuple[Any, ...]:
    """What each layer gives of one input, a tensor, and None for a layer that is not there."""
    return tuple(
        None if layer is None else layer(x.exact, x.tokens) if _takes_fp8(layer) else layer(x.exact)
        for layer in layers
    )


def _takes_fp8(layer: nn.Module) -> bool:
    """Also beneath PEFT's layer, which hands on what it is called with."""
    return isinstance(getattr(layer, "base_layer", layer), Fp8Linear)


def _adapted(layer: nn.Module) -> bool:
    """Whether adapters act beside the layer's weight."""
    return bool(getattr(layer, "active_adapters", ())) and not layer.disable_adapters
