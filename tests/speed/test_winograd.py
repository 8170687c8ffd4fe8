"""pipelines.speed.winograd: the same convolution with half the products."""

import pytest
import torch
from torch import nn

from pipelines.speed import winograd

HEIGHT, WIDTH = 14, 18


def conv_of(padding=0, bias=True, **options):
    torch.manual_seed(7)
    given = {"kernel_size": 3, "padding": (0, padding, padding), "bias": bias, **options}
    return nn.Conv3d(8, 12, **given)


def exact(conv, x):
    return nn.functional.conv3d(
        x.double(),
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        padding=conv.padding,
    )


@pytest.mark.parametrize("frames", [4, 5, 6, 7, 8, 13])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("padding", [0, 1])
def test_any_number_of_frames_is_convolved_as_by_the_direct_sum(frames, bias, padding):
    conv = conv_of(padding=padding, bias=bias)
    x = torch.randn(2, 8, frames + 2, HEIGHT, WIDTH)
    with torch.inference_mode():
        found = winograd.convolved(x, winograd.planes(conv.weight), conv, padding, padding)
        wanted = exact(conv, x)
        direct = conv(x)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    assert found.shape == wanted.shape
    error, usual = ((each - wanted).square().mean().sqrt() for each in (found, direct))
    assert error < 4 * usual + 1e-7


@pytest.mark.parametrize(
    ("options", "changed", "suits"),
    [
        ({}, lambda x: x, True),
        ({}, lambda x: x.bfloat16(), False),
        ({}, lambda x: x.to("meta"), False),
        ({}, lambda x: x[:, :, :5], False),
        ({}, lambda x: x[..., :3], False),
        ({"stride": 2}, lambda x: x, False),
        ({"dilation": 2}, lambda x: x, False),
        ({"kernel_size": (3, 1, 1)}, lambda x: x, False),
        ({"groups": 4}, lambda x: x, False),
    ],
)
def test_only_what_gains_goes_this_way(options, changed, suits):
    x = changed(torch.empty(1, 8, 9, HEIGHT + 2, WIDTH + 2))
    assert winograd.suits(conv_of(**options), x) is suits
