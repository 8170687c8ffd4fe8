"""A block compiled once and used for all, each shape for itself.

What makes diffusers' block recompile is settled before it is called: whether a block is perturbed
is a plain yes or no, there is no mask, and timesteps come by level. Each shape and kind of call is
one graph; torch's own limit of 8 is too low for a worker that serves several sizes.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from pipelines.speed.block import block_forward

GRAPHS = 64  # of one function; beyond them a call fails instead of running uncompiled
Compute = Callable[..., tuple[Tensor, Tensor]]


@cache
def compiled(backend: str = "inductor") -> Compute:
    """The block's arithmetic as one graph a shape; the same function each time it is asked for."""

    # A function of its own, so that no other graph of these lines counts against the limit.
    @wraps(block_forward)
    def block(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return block_forward(*args)

    graph = torch.compile(block, backend=backend, fullgraph=True, dynamic=False)

    @wraps(block_forward)
    def compute(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        with torch._dynamo.config.patch(recompile_limit=GRAPHS):
            return graph(*args)

    return compute
