"""Appended pictures sit at their pixel frame.

What differs: diffusers reads a condition's `index` as a latent index, so it can only place pictures
at frames 8k + 1, and -1 means frame F - 8 rather than the last one; a picture beyond the end is
skipped with a log line. The reference speaks pixel frames: the appended tokens cover
[k, k + 1) / fps without the causal shift of the clip's own grid. References of an IC-LoRA do have
that shift, and their rows and columns are stretched to the target's size.
End: when conditions take pixel frames, `test_stock_index_still_counts_latents` fails.
"""

import torch
from torch import Tensor, nn

from pipelines.geometry import SPATIAL, TEMPORAL
from pipelines.values import Placed


def appended_positions(transformer: nn.Module, placed: Placed, fps: float) -> Tensor:
    """Positions (1, 3, tokens, 2) of an appended latent.

    [start, end) in seconds, pixel rows and pixel columns.
    """
    _, _, frames, height, width = placed.latent.shape
    device = placed.latent.device
    if placed.reference:
        skipped = placed.first_latent
        grid = transformer.rope.prepare_video_coords(
            1, skipped + frames, height, width, device, fps=fps
        )[:, :, skipped * height * width :]
        grid[:, 1:] *= placed.downscale
        return grid
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (frames, height, width)]
    start = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # (3, tokens)
    scale = torch.tensor((TEMPORAL, SPATIAL, SPATIAL), dtype=torch.float32, device=device)[:, None]
    grid = torch.stack((start * scale, (start + 1) * scale), dim=-1)  # (3, tokens, 2)
    grid[0] += placed.frame
    if placed.pixel_frames == 1:
        grid[0, :, 1] = grid[0, :, 0] + 1
    grid[0] /= fps
    return grid[None]
