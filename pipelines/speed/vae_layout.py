"""The video decoder with its channels together in memory (channels_last_3d).

cuDNN's three-dimensional convolutions are about 1.7 times as fast that way on Hopper (published:
sglang#23200), and those of a CPU gain by it, too, as long as nothing in between turns the tensors
round again. diffusers repeats and concatenates the frames at the ends before each convolution,
which gives the usual layout; here the padded tensor is made in the layout that the convolution
wants, with the same frames in it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from torch import Tensor, nn

from pipelines.speed.levers import Layout
from pipelines.speed.rotary import replaced_forward

LAST = torch.channels_last_3d


def settled(choice: Layout, device: torch.device) -> Layout:
    """The choice, or for "auto" what is best on the device."""
    if choice != "auto":
        return choice
    return "contiguous" if device.type == "meta" else "channels_last"


@contextmanager
def laid_out(vae: nn.Module, choice: Layout, device: torch.device) -> Iterator[None]:
    """The decoder computes in this layout inside the block."""
    with ExitStack() as stack:
        if settled(choice, device) == "channels_last":
            for module in _decoder(vae).modules():
                if isinstance(module, LTX2VideoCausalConv3d):
                    stack.enter_context(replaced_forward(module, _padding(module)))
        yield


def turn_weights(vae: nn.Module, choice: Layout, device: torch.device) -> None:
    """The decoder's weights in this layout, once, where they are loaded: their values are the
    same, and they keep it wherever they are moved.
    """
    if settled(choice, device) == "channels_last":
        for module in _decoder(vae).modules():
            if isinstance(module, nn.Conv3d):
                module.weight.data = module.weight.data.contiguous(memory_format=LAST)


def _decoder(vae: nn.Module) -> nn.Module:
    """The encoder stays as it is."""
    return getattr(vae, "decoder", vae)


def _padding(module: Any) -> Callable[..., Tensor]:  # noqa: ANN401 - attributes are unions to torch
    """The module's forward: the first and the last frame again at the ends, then convolved."""
    size = module.kernel_size[0]

    def forward(hidden_states: Tensor, causal: bool = True) -> Tensor:
        before, after = (size - 1, 0) if causal else ((size - 1) // 2, (size - 1) // 2)
        return module.conv(padded(hidden_states, before, after))

    return forward


def padded(x: Tensor, before: int, after: int) -> Tensor:
    """(B, C, T, H, W) with its first and last frame so many times more, channels last."""
    if not before and not after:
        return x.contiguous(memory_format=LAST)
    batch, channels, frames, height, width = x.shape
    shape = (batch, channels, before + frames + after, height, width)
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=LAST)
    out[:, :, before : before + frames] = x
    if before:
        out[:, :, :before] = x[:, :, :1]
    if after:
        out[:, :, before + frames :] = x[:, :, -1:]
    return out
