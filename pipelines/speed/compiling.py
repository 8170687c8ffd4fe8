"""A block compiled once and used for all, each shape for itself.

What makes diffusers' block recompile is settled before it is called: whether a block is perturbed
is a plain yes or no, there is no mask, and timesteps come by level. Each shape and kind of call is
one graph; torch's own limit of 8 is too low for a worker that serves several sizes. What comes when
there are as many graphs as may be is computed uncompiled, and told once.
"""

import logging
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit

from pipelines.speed.block import block_forward
from pipelines.speed.elementwise import Elementwise

logger = logging.getLogger(__name__)

GRAPHS = 64  # of one function: shapes and kinds of call
Compute = Callable[..., tuple[Tensor, Tensor]]


@cache
def compiled(backend: str = "inductor", *, graphs: int = GRAPHS) -> Compute:
    """The block's arithmetic as one graph a shape; the same function each time it is asked for.

    It takes what `block_forward` takes, and `beyond`: the operations for shapes that come after
    `graphs` others, those it was called with unless given.
    """

    # A function of its own, so that no other graph of these lines counts against the limit.
    @wraps(block_forward)
    def block(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return block_forward(*args)

    graph = torch.compile(block, backend=backend, fullgraph=True, dynamic=False)
    late: set[object] = set()  # what found no place among the graphs

    @wraps(block_forward)
    def compute(*args: Any, beyond: Elementwise | None = None) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        kind = _kind(*args)
        if kind not in late:
            try:
                with torch._dynamo.config.patch(recompile_limit=graphs):
                    return graph(*args)
            except FailOnRecompileLimitHit:
                if not late:
                    logger.warning("%s graphs are compiled: other shapes run uncompiled", graphs)
                late.add(kind)
        module, ops, *rest = args
        return block_forward(module, beyond or ops, *rest)

    return compute


def _kind(_block: object, _ops: object, call: object, *tensors: Any) -> object:  # noqa: ANN401
    """What a graph is made for: the call and the shapes and types of what goes in."""
    *states, given = tensors
    rows = [value for value in given.values() if isinstance(value, Tensor)]
    return call, *((each.shape, each.dtype) for each in (*states, *rows))
