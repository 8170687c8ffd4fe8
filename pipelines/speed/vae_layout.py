"""The video decoder with its channels together in memory (channels_last_3d).

cuDNN's three-dimensional convolutions are about 1.7 times as fast that way on Hopper (published:
sglang#23200), and those of a CPU gain by it, too, as long as nothing in between turns the tensors
round again. diffusers repeats and concatenates the frames at the ends before each convolution, and
then mirrors the edges of what came of it, two copies in the usual layout; here the padded tensor is
made once, in the layout that the convolution wants, with the same frames in it. On a CPU the norms,
whose channels lie together then, are one kernel instead of six. On a GPU they stay diffusers': that
kernel has a thread block for each row, which 128 channels are too few to fill, and it was not
measured there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import (
    LTX2VideoCausalConv3d,
    PerChannelRMSNorm,
)
from torch import Tensor, nn
from torch.nn import functional

from pipelines.speed import winograd
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
                    stack.enter_context(replaced_forward(module, _convolving(module)))
                elif isinstance(module, PerChannelRMSNorm) and device.type == "cpu":
                    stack.enter_context(replaced_forward(module, _normalising(module)))
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


def _convolving(module: Any) -> Callable[..., Tensor]:  # noqa: ANN401 - attributes are unions to torch
    """The module's forward: the first and the last frame again at the ends, then convolved."""
    size, conv = module.kernel_size[0], module.conv
    # Edges that are mirrored are written with the frames, or they would be another copy.
    mirrored = conv.padding[1:] if conv.padding_mode == "reflect" else (0, 0)
    padding = (0, 0, 0) if any(mirrored) else conv.padding
    planes: Sequence[Tensor] = ()

    def forward(hidden_states: Tensor, causal: bool = True) -> Tensor:
        nonlocal planes
        before, after = (size - 1, 0) if causal else ((size - 1) // 2, (size - 1) // 2)
        x = padded(hidden_states, before, after, *mirrored)
        if winograd.suits(conv, x):
            planes = planes or winograd.planes(conv.weight)
            return winograd.convolved(x, planes, conv, *padding[1:])
        if by_onednn(x):
            return torch.mkldnn_convolution(
                x, conv.weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups
            )
        return functional.conv3d(
            x, conv.weight, conv.bias, conv.stride, padding, conv.dilation, conv.groups
        )

    return forward


def by_onednn(x: Tensor) -> bool:
    """Whether oneDNN convolves this tensor.

    It is what torch itself takes for all but small tensors, on which it is up to four times as fast
    as what torch takes there. It has no float64 and no float16 of its own, and bfloat16 only where
    the CPU has.
    """
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32


def padded(x: Tensor, before: int, after: int, rows: int = 0, columns: int = 0) -> Tensor:
    """(B, C, T, H, W) with its first and last frame so many times more, and so many rows and
    columns mirrored at each edge, channels last.
    """
    if not (before or after or rows or columns):
        return x.contiguous(memory_format=LAST)
    batch, channels, frames, height, width = x.shape
    shape = (batch, channels, before + frames + after, height + 2 * rows, width + 2 * columns)
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=LAST)
    inner = out[:, :, before : before + frames]
    inner[..., rows : rows + height, columns : columns + width] = x
    # Around the edge that is at `rows`, not between it and its copy; then whole columns likewise.
    for step in range(1, rows + 1):
        for edge, way in ((rows, 1), (rows + height - 1, -1)):
            inner[..., edge - way * step, :] = inner[..., edge + way * step, :]
    for step in range(1, columns + 1):
        for edge, way in ((columns, 1), (columns + width - 1, -1)):
            inner[..., edge - way * step] = inner[..., edge + way * step]
    if before:
        out[:, :, :before] = inner[:, :, :1]
    if after:
        out[:, :, before + frames :] = inner[:, :, -1:]
    return out


def _normalising(module: Any) -> Callable[..., Tensor]:  # noqa: ANN401 - attributes are unions to torch
    """The module's forward in one kernel: what lies together in memory is what is normalised."""

    def forward(x: Tensor, channel_dim: int | None = None) -> Tensor:
        del channel_dim  # which the module does not take for its mean either
        inward = x.movedim(module.channel_dim, -1)
        return functional.rms_norm(inward, inward.shape[-1:], eps=module.eps).movedim(
            -1, module.channel_dim
        )

    return forward
