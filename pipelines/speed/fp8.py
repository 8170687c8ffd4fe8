"""Layers that are rounded to fp8 multiplied in fp8, too: another clip than the exact one.

Weights that are only stored in fp8 are widened before each product. Here every token that goes in
is rounded as well, with a scale of its own, and the product runs on the GPU's fp8 units at up to
twice bfloat16's rate. It was not measured, and is off by itself. The first block and the last tenth
are spared: the outliers of their activations cost the most (as LightX2V has it, which spares blocks
0 and 43 to 47 of 48).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torchao.quantization import Float8Tensor

from pipelines.speed.products import Fp8Linear

FROM = (8, 9)  # compute capability: Ada, Hopper and newer multiply in fp8
SPARED_AT_END = 0.1


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Raises ValueError for a GPU that cannot multiply in fp8, or not with results of that type.

    A CPU does it slowly, in every type.
    """
    if device.type != "cuda":
        return
    if dtype != torch.bfloat16:
        given = str(dtype).removeprefix("torch.")
        raise ValueError(f"products in fp8 are bfloat16 on a GPU, not {given}: LTX2_DTYPE=bfloat16")
    if torch.cuda.get_device_capability(device) < FROM:
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
    layers = [
        layer
        for index, block in enumerate(blocks)
        if not spared(index, len(blocks))
        for layer in block.modules()
        if type(layer) is nn.Linear and isinstance(layer.weight, Float8Tensor)
    ]
    if not layers:
        raise ValueError("no layer between the spared blocks is rounded to fp8")
    # Their class and not a function of each: a compiled block goes for all that are alike.
    try:
        for layer in layers:
            layer.__class__ = Fp8Linear
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear
