"""Products in bfloat16 where the processor multiplies in it: training takes two thirds of the time.

Weights, their gradients and the optimiser stay in float32. A processor without the instructions
trains in float32 throughout.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

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


def linears(module: nn.Module) -> None:
    """Linear layers alone, from now on: attention's gradient is slower in bfloat16 on a CPU, and so
    is what lies between, unless it is compiled.
    """
    if able():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.forward = partial(_product, layer)


def _product(layer: nn.Linear, values: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.bfloat16()
    return F.linear(values.bfloat16(), layer.weight.bfloat16(), bias).to(values.dtype)
