"""3×3×3 convolutions of a CPU with half the products: Winograd's minimal filtering along time.

Four frames of the result need twelve planar convolutions of three frames each; F(4, 3) makes them
of six, of sums of frames with sums of the kernel's planes (Lavin and Gray, arXiv:1509.09308, with
their points 0, ±1, ±2 and infinity). In float32 the result is as near to the exact one as the
direct sum to about a factor of two; coarser types would lose digits in the sums.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LAST = torch.channels_last
AT_ONCE = 4  # frames of the result
# Pixels of a frame of the result, below which six small calls take as long as the one.
LEAST_PIXELS = 200


def suits(conv: nn.Conv3d, x: Tensor) -> bool:
    """Whether this convolution of this padded (B, C, T, H, W) gains by it."""
    _, _, frames, height, width = x.shape
    return (
        conv.kernel_size == (3, 3, 3)
        and conv.stride == conv.dilation == (1, 1, 1)
        and conv.groups == 1
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and frames - 2 >= AT_ONCE
        and height * width >= LEAST_PIXELS
    )


def planes(weight: Tensor) -> Sequence[Tensor]:
    """The six planar kernels (O, C, 3, 3), channels last, of a kernel (O, C, 3, 3, 3)."""
    before, now, after = (plane.contiguous(memory_format=LAST) for plane in weight.unbind(2))
    ends, far = (before + after) / -6, before / 24 + after / 6
    sixth, twelfth = now / 6, now / 12
    return before / 4, ends - sixth, ends + sixth, far + twelfth, far - twelfth, after


def convolved(x: Tensor, six: Sequence[Tensor], conv: nn.Conv3d, rows: int, columns: int) -> Tensor:
    """`conv` of (B, C, T + 2, H, W), whose frames are padded already; `rows` and `columns` of zeros
    are padded here. `six` are its `planes`. Channels last in memory.
    """
    frames = x.shape[2] - 2
    height, width = x.shape[3] - 2 + 2 * rows, x.shape[4] - 2 + 2 * columns
    out = torch.empty(
        (x.shape[0], conv.out_channels, frames, height, width),
        dtype=x.dtype,
        memory_format=torch.channels_last_3d,
    )
    whole = frames // AT_ONCE * AT_ONCE
    for clip, made in zip(x, out, strict=True):
        ins, outs = clip.transpose(0, 1), made.transpose(0, 1)
        for at in range(0, whole, AT_ONCE):
            _four(ins[at : at + 6], six, conv.bias, (rows, columns), outs[at : at + AT_ONCE])
    if whole < frames:
        out[:, :, whole:] = torch.mkldnn_convolution(
            x[:, :, whole:], conv.weight, conv.bias, (0, rows, columns), (1, 1, 1), (1, 1, 1), 1
        )
    return out


def _four(
    ins: Tensor, six: Sequence[Tensor], bias: Tensor | None, padding: tuple[int, int], outs: Tensor
) -> None:
    """Four frames of the result of six that go in, written to `outs`."""
    d0, d1, d2, d3, d4, d5 = ins.split(1)

    def planar(frame: Tensor, number: int, bias: Tensor | None = None) -> Tensor:
        return functional.conv2d(frame, six[number], bias, padding=padding)

    even, odd = torch.sub(d4, d2, alpha=4), torch.sub(d3, d1, alpha=4)
    even_2, odd_2 = d4 - d2, (d3 - d1).mul_(2)
    # The bias goes into the product that each of the four has in it once.
    one, minus_one = planar(even + odd, 1, bias), planar(even - odd, 2)
    two, minus_two = planar(even_2 + odd_2, 3), planar(even_2 - odd_2, 4)
    sums, differences = one + minus_one, one.sub_(minus_one)
    sums_2, differences_2 = two + minus_two, two.sub_(minus_two)
    first = planar(torch.add(d4, d0, alpha=4).sub_(d2, alpha=5), 0).add_(sums)
    last = planar(torch.add(d5, d1, alpha=4).sub_(d3, alpha=5), 5).add_(differences)
    torch.add(first, sums_2, out=outs[0:1])
    torch.add(differences, differences_2, alpha=2, out=outs[1:2])
    torch.add(sums, sums_2, alpha=4, out=outs[2:3])
    torch.add(last, differences_2, alpha=8, out=outs[3:4])
