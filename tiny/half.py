"""Products in bfloat16 where the processor multiplies in it: training takes two thirds of the time.

Weights, their gradients and the optimiser stay in float32. A processor without the instructions
trains in float32 throughout.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def able() -> bool:
    """Whether the default device multiplies in bfloat16."""
    if torch.get_default_device().type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def convolutions() -> AbstractContextManager[object]:
    """Networks of convolutions as autocast runs them, inside the `with`."""
    if not able():
        return nullcontext()
    return torch.autocast(torch.get_default_device().type, torch.bfloat16)


class Linear(nn.Linear):
    """A linear layer that multiplies in bfloat16, and takes and gives what others do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as its class calls it
        bias = None if self.bias is None else self.bias.bfloat16()
        return F.linear(input.bfloat16(), self.weight.bfloat16(), bias).to(input.dtype)


def linears(module: nn.Module) -> None:
    """Linear layers alone, from now on: attention's gradient is slower in bfloat16 on a CPU, and so
    is what lies between, unless it is compiled.
    """
    if able():
        for layer in module.modules():
            if type(layer) is nn.Linear:
                # Another class, not another method of each: compiled code serves every block.
                layer.__class__ = Linear
