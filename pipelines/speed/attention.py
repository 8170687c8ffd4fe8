"""Which attention kernel torch tries first, by the GPU's architecture.

On Hopper and datacenter Blackwell cuDNN's kernels reach about twice the rate of what
`scaled_dot_product_attention` takes by itself; on other GPUs they are level or slower (published
figures: pytorch#142132, transformers#48163). The others stay allowed behind it, for shapes that the
first one refuses. No kernel but the slow ones takes a mask, and no stage sends one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.speed.levers import Attention

CUDNN_FIRST = ((9, 0), (10, 0), (10, 3))  # compute capabilities: H100, H200, B200, B300
_BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def settled(choice: Attention, device: torch.device) -> Attention:
    """The choice, or for "auto" what is best on the device: "cudnn" or "default"."""
    if choice != "auto":
        return choice
    if device.type != "cuda":
        return "default"
    return by_capability(torch.cuda.get_device_capability(device))


def by_capability(capability: tuple[int, int]) -> Attention:
    """What is best on a GPU of this compute capability."""
    return "cudnn" if capability in CUDNN_FIRST else "default"


def priority(choice: Attention) -> list[SDPBackend]:
    """All kernels, the chosen one first. Raises ValueError for what names none."""
    if choice not in _BACKENDS:
        known = ", ".join(name for name in get_args(Attention) if name in _BACKENDS)
        raise ValueError(f"{choice!r} is no attention kernel; it is one of {known}")
    return [_BACKENDS[choice], *(kernel for name, kernel in _BACKENDS.items() if name != choice)]


@contextmanager
def attention_order(choice: Attention, device: torch.device) -> Iterator[None]:
    """Attention tries the chosen kernel first inside the block; "default" changes nothing."""
    chosen = settled(choice, device)
    if chosen == "default":
        yield
        return
    with sdpa_kernel(priority(chosen), set_priority=True):
        yield
