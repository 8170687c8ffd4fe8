"""A model of plain averages: a latent cell holds the mean colours of its 32x32 pixels, frame by
frame, so that what a recipe does to places and times can be read off the pixels.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import nn

from pipelines.speed.levers import USUAL
from tiny.sizes import VIDEO_CHANNELS

FRAMES = 8  # of a latent; the first has one, which it holds eight times


class BlockVae(nn.Module):
    """Encodes to means and decodes to flat blocks."""

    def __init__(self):
        super().__init__()
        self.register_buffer("latents_mean", torch.zeros(VIDEO_CHANNELS))
        self.register_buffer("latents_std", torch.ones(VIDEO_CHANNELS))
        self.use_tiling = self.use_framewise_decoding = False
        self.dtype = torch.float32

    def encode(self, pixels):
        """(1, 3, 8k + 1, h, w) to a distribution whose mode is (1, C, k + 1, h / 32, w / 32)."""
        latent = grouped(nn.functional.avg_pool3d(pixels, (1, 32, 32)))
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latent))

    def decode(self, latent, return_dict):
        """The inverse, in flat blocks."""
        assert return_dict is False
        blocks = ungrouped(latent)
        return (blocks.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4),)


def grouped(colours):
    """(1, 3, 8k + 1, h, w) to (1, C, k + 1, h, w)."""
    whole = torch.cat(
        (colours[:, :, :1].repeat_interleave(FRAMES, dim=2), colours[:, :, 1:]), dim=2
    )
    cells = whole.unflatten(2, (-1, FRAMES)).transpose(2, 3).flatten(1, 2)
    return nn.functional.pad(cells, (0, 0, 0, 0, 0, 0, 0, VIDEO_CHANNELS - cells.shape[1]))


def ungrouped(latent):
    """The inverse of `grouped`."""
    cells = latent[:, : 3 * FRAMES].unflatten(1, (3, FRAMES)).transpose(2, 3).flatten(2, 3)
    return cells[:, :, FRAMES - 1 :]


class Enlarge(nn.Module):
    """Each cell becomes `scale` times as many along both edges; every other one of 1.5's three."""

    def __init__(self, scale):
        super().__init__()
        self.size = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, latent):
        """(1, C, F, h, w) to (1, C, F, scale h, scale w)."""
        step = 2 if float(self.size) == 1.5 else 1
        times = round(float(self.size) * step)
        large = latent.repeat_interleave(times, dim=3).repeat_interleave(times, dim=4)
        return large[..., ::step, ::step]


class Double(nn.Module):
    """Every frame is shown twice, but for the last."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.zeros(1))

    def forward(self, latent):
        """(1, C, F, h, w) to (1, C, 2 F - 1, h, w)."""
        return grouped(ungrouped(latent).repeat_interleave(2, dim=2)[:, :, :-1])


class BlockModel:
    """The parts of such a model, as recipes use them."""

    device = torch.device("cpu")
    levers = USUAL

    def __init__(self):
        self.parts = {
            "vae": BlockVae(),
            "spatial_upscaler": Enlarge(2),
            "spatial_upscaler_x1.5": Enlarge(1.5),
            "temporal_upscaler": Double(),
        }

    @contextmanager
    def using(self, name):
        """A part by its name."""
        yield self.parts[name]
