"""The refining pass as it runs: a clip that is there already is noised a little and done again."""

import torch
from torch import Tensor

from pipelines.models import TINY
from tiny.loop import Draw


def on_the_way(begin: Tensor, end: Tensor, draw: Draw) -> tuple[float, Tensor]:
    """One of the pass's levels, 0 to 1, and what is there when it is reached, between `begin`,
    noised to the first level, and `end`: tokens (n, tokens, channels). The velocity is what was
    there less `end`, over the level.
    """
    levels = TINY.refine_sigmas
    level = draw.shared.choice(levels[:-1])
    noise = torch.randn(begin.shape, generator=draw.torch)
    return level, torch.lerp(end, torch.lerp(begin, noise, levels[0]), level / levels[0])
