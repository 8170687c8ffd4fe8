"""Layers that are rounded to fp8 multiplied in fp8, too: another clip than the exact one.

Weights that are only stored in fp8 are widened before each product. Here every token that goes in
is rounded as well, with a scale of its own, and the product runs on the GPU's fp8 units at up to
twice bfloat16's rate. torchao rounds tokens by several kernels a layer, which may cost more than
the product saves: it was not measured, and is off by itself. The first block and the last tenth are
spared: the outliers of their activations cost the most (as LightX2V has it, which spares blocks 0
and 43 to 47 of 48).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torchao.float8.inference import Float8MMConfig
from torchao.quantization import Float8Tensor, PerRow
from torchao.quantization.quantize_.workflows.float8.float8_tensor import (
    QuantizeTensorToFloat8Kwargs,
)

FROM = (8, 9)  # compute capability: Ada, Hopper and newer multiply in fp8
SPARED_AT_END = 0.1
_TOKENS = QuantizeTensorToFloat8Kwargs(torch.float8_e4m3fn, PerRow())
_PRODUCT = Float8MMConfig(use_fast_accum=True)


def check(device: torch.device) -> None:
    """Raises ValueError for a GPU that cannot multiply in fp8; a CPU does it slowly."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FROM:
        raise ValueError(f"{device} cannot multiply in fp8: that takes compute capability 8.9")


def spared(block: int, blocks: int) -> bool:
    """Whether a block's products stay as they are."""
    return block == 0 or block >= blocks - max(1, round(SPARED_AT_END * blocks))


@contextmanager
def products_in_fp8(transformer: nn.Module) -> Iterator[None]:
    """Products of the transformer's rounded layers in fp8, inside the block.

    Raises ValueError where no layer is rounded to fp8.
    """
    blocks = transformer.transformer_blocks
    weights = [
        weight
        for index, block in enumerate(blocks)
        if not spared(index, len(blocks))
        for weight in block.parameters()
        if isinstance(weight, Float8Tensor)
    ]
    if not weights:
        raise ValueError("no layer between the spared blocks is rounded to fp8")
    before = [(weight.act_quant_kwargs, weight.mm_config) for weight in weights]
    try:
        for weight in weights:
            weight.act_quant_kwargs, weight.mm_config = _TOKENS, _PRODUCT
        yield
    finally:
        for weight, (tokens, product) in zip(weights, before, strict=True):
            weight.act_quant_kwargs, weight.mm_config = tokens, product
