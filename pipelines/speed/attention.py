"""Which attention kernel torch tries first, by the GPU's architecture.

On Hopper and datacenter Blackwell cuDNN's kernels reach about twice the rate of flash attention's;
on other GPUs they are level or slower (published figures: pytorch#142132, transformers#48163).
torch puts them first there by itself from cuDNN 9.15.1 on, unless TORCH_CUDNN_SDPA_DEPRIORITIZED
says otherwise: then "auto" changes nothing but that variable's choice. Before 9.15.1 they read past
the end of sequences that 128 does not divide (pytorch#169849), and "auto" leaves the order to
torch. The others stay allowed behind the first, for shapes that it refuses. No kernel but the slow
ones takes a mask, and no stage sends one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import get_args

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.speed.levers import Attention

CUDNN_FIRST = ((9, 0), (10, 0), (10, 3))  # compute capabilities: H100, H200, B200, B300
CUDNN_FROM = 91501  # its version as torch tells it: 9.15.1
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
    return best(torch.cuda.get_device_capability(device), torch.backends.cudnn.version())


def best(capability: tuple[int, int], cudnn: int | None) -> Attention:
    """What is best on a GPU of this compute capability with this version of cuDNN."""
    right = cudnn is not None and cudnn >= CUDNN_FROM
    return "cudnn" if right and capability in CUDNN_FIRST else "default"


def priority(choice: Attention) -> list[SDPBackend]:
    """All kernels, the chosen one first. Raises ValueError for what names none."""
    if choice not in _BACKENDS:
        known = ", ".join(name for name in get_args(Attention) if name in _BACKENDS)
        raise ValueError(f"{choice!r} is no attention kernel; it is one of {known}")
    return [_BACKENDS[choice], *(kernel for name, kernel in _BACKENDS.items() if name != choice)]


def order(choice: Attention, device: torch.device) -> tuple[str, ...]:
    """The kernels by name as a pass tries them, those that are switched off left out."""
    with attention_order(choice, device):
        switched_on = {
            "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),
            "flash": torch.backends.cuda.flash_sdp_enabled(),
            "efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),
            "math": torch.backends.cuda.math_sdp_enabled(),
        }
        places = torch._C._get_sdp_priority_order()
    names = [name for name, on in switched_on.items() if on]
    return tuple(sorted(names, key=lambda name: places.index(int(_BACKENDS[name].value))))


@contextmanager
def attention_order(choice: Attention, device: torch.device) -> Iterator[None]:
    """Attention tries the chosen kernel first inside the block; "default" changes nothing."""
    chosen = settled(choice, device)
    if device.type == "cuda":
        _settle_torchs_own(device)
    if chosen == "default":
        yield
        return
    with sdpa_kernel(priority(chosen), set_priority=True):
        yield


@cache
def _settle_torchs_own(device: torch.device) -> None:
    """Let torch put its kernels in order, as it does at a process's first attention on a GPU.

    Were that inside the block, it would undo our order there, and what is put back behind the block
    would be the order from before torch's choice, for everything else in the process.
    """
    one = torch.zeros(1, 1, 1, 8, device=device)
    with sdpa_kernel(SDPBackend.MATH):  # which takes it, whatever else is switched off
        functional.scaled_dot_product_attention(one, one, one)
