"""Weights are loaded and moved outside of inference mode, also where a stage asks in it.

What differs: torchao's rounded weights are made, detached and moved by operations that torch takes
apart in inference mode: there they can neither come to another device nor be page-locked or swapped
for a copy, and one that was made there never can again.
Cure: the block runs in the usual mode, without gradients.
End: when `test_torchao_still_cannot_move_a_rounded_weight_in_inference_mode` fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def plain_mode() -> Iterator[None]:
    """No tensor of the block is one of inference mode, and none records gradients."""
    with torch.inference_mode(mode=False), torch.no_grad():
        yield
