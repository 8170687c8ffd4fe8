"""From the device to the host in one wait."""

import torch
from torch import Tensor


def to_host(*tensors: Tensor) -> list[Tensor]:
    """The same in host memory; from CUDA into page-locked memory, with one wait for all of them.

    Elsewhere the first alone, which is the large one: the others cost no wait there.

    torch keeps page-locked memory for the next of the same size once it is let go.
    """
    if tensors[0].device.type != "cuda":
        return [tensors[0].cpu(), *tensors[1:]]
    there = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
    for target, tensor in zip(there, tensors, strict=True):
        target.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return there
