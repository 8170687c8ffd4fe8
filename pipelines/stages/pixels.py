"""A decoder's pixels to bytes in host memory, in one pass over them."""

import numpy as np
import torch
from torch import Tensor

from pipelines.speed.transfer import to_host
from pipelines.values import NonFinite

# What is converted at once, in frames and rows. On a GPU few large kernels; on a CPU what its
# second cache holds, since every operation of the conversion reads it again.
_ON_GPU = (8, 1 << 30)
_ON_CPU = (1, 64)


def frames_on_host(pixels: Tensor) -> tuple[np.ndarray, tuple[int, int]]:
    """(1, 3, n, height, width) in -1..1 to uint8 (n, height, width, 3) in host memory.

    With the lowest and the highest byte. Raises NonFinite for NaN and infinity.
    """
    frames, extremes = to_host(*to_uint8(pixels))
    if not bool(torch.isfinite(extremes).all()):
        raise NonFinite("decode: the frames are not finite")
    low, high = (int(value) for value in extremes.clamp(0, 255).round())
    return frames.numpy(), (low, high)


def to_uint8(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(1, 3, n, height, width) in -1..1 to uint8 (n, height, width, 3), on the same device.

    What is outside the range is cut. With the two extremes (2,) on the scale of bytes and before
    they are cut and rounded; they are not finite where any pixel is not.
    """
    _, channels, count, height, width = pixels.shape
    frames = pixels.new_empty((count, height, width, channels), dtype=torch.uint8)
    at_once, rows = _ON_CPU if pixels.device.type == "cpu" else _ON_GPU
    extremes = []
    for start in range(0, count, at_once):
        for top in range(0, height, rows):
            piece = (slice(start, start + at_once), slice(top, top + rows))
            part = pixels[(0, slice(None), *piece)].float().add(1).mul_(127.5)
            extremes.append(torch.stack(torch.aminmax(part)))
            # By way of int32: torch's own step from float32 to bytes takes three times as long on a
            # CPU. And the channels last as a stack, which takes half as long as a permuted copy.
            levels = part.clamp_(0, 255).round_().to(torch.int32).to(torch.uint8)
            frames[piece] = torch.stack(levels.unbind(0), dim=-1)
    seen = torch.stack(extremes)
    # A maximum passes NaN on, as a minimum does.
    return frames, torch.stack((seen[:, 0].amin(), seen[:, 1].amax()))
