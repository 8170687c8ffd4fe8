"""Linear layers of a block, by what goes into them.

Layers that multiply in fp8 take their input rounded: `products` rounds it once for all layers that
share it. What else reads the input, a layer that is not rounded or the LoRA beside one that is, has
it as it was.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pipelines.speed.elementwise import Elementwise

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
SMALLEST = 1e-12  # of a token's largest value: a token of zeros must not divide by zero


@dataclass(frozen=True, slots=True)
class Quantised:
    """Tokens in fp8, each with a scale of its own: data * scale is about what they were."""

    data: Tensor  # float8_e4m3fn (batch, tokens, width)
    scale: Tensor  # float32 (batch, tokens, 1)


def quantised(x: Tensor) -> Quantised:
    """Tokens (batch, tokens, width) rounded so that the largest value of each is fp8's largest.

    Triton's kernel gives the same to the last bit, unless a token is not finite: then what is
    multiplied is not finite either.
    """
    wide = x.float()
    largest = wide.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
    return Quantised((wide * (LARGEST / largest)).to(FP8), largest / LARGEST)


class Fp8Linear(nn.Linear):
    """A linear layer whose weight lies in fp8 and is multiplied so."""

    def forward(self, input: Tensor, tokens: Quantised | None = None) -> Tensor:  # noqa: A002 - torch's name
        """The product of `tokens`, which are `input` rounded, and of `input` itself without them.

        torch adds the bias within a product of bfloat16 alone.
        """
        tokens = quantised(input) if tokens is None else tokens
        weight, bias, kind = self.weight, self.bias, input.dtype
        within = kind == torch.bfloat16
        out = torch._scaled_mm(
            tokens.data.flatten(0, -2),
            weight.qdata.t(),  # (in, out), columns together: as it lies
            scale_a=tokens.scale.flatten(0, -2),
            scale_b=weight.scale.t(),
            bias=bias if within else None,
            out_dtype=kind,
            use_fast_accum=True,
        )
        if bias is not None and not within:
            out = out + bias
        return out.unflatten(0, input.shape[:-1])


def products(ops: "Elementwise", x: Tensor, *layers: nn.Module | None) -> tuple[Tensor | None, ...]:
    """What each layer gives of one input, None for a layer that is not there."""
    if not any(_takes_fp8(layer) for layer in layers):
        return tuple(None if layer is None else layer(x) for layer in layers)
    tokens = ops.quantised(x)
    return tuple(
        None if layer is None else layer(x, tokens) if _takes_fp8(layer) else layer(x)
        for layer in layers
    )


def _takes_fp8(layer: nn.Module | None) -> bool:
    """Also beneath PEFT's layer, which hands on what it is called with."""
    return isinstance(getattr(layer, "base_layer", layer), Fp8Linear)
