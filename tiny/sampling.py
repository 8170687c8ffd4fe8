"""Clips by the trained model, many at once: what the distilled model learns from."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from tiny.transformer import Batch, Generator, velocity


@torch.no_grad()
def sample(
    model: Generator,
    wanted: Batch,
    noise: tuple[Tensor, Tensor],
    sigmas: Sequence[float],
    *,
    empty: tuple[Tensor, Tensor] | None = None,
    scale: float = 1.0,
    first_frame: bool = False,
) -> tuple[Tensor, Tensor]:
    """Euler from noise along `sigmas`, which end in 0: packed video and audio like those of
    `wanted`, of which only the text, the grid and, with `first_frame`, the first frame are read.

    `empty` is the text and mask of no prompt, (1, ...); with it, guidance by `scale`.
    """
    video, audio = noise
    count, tokens = video.shape[:2]
    given = None
    if first_frame:
        given = torch.ones(count, tokens)
        given[:, : wanted.grid[1] * wanted.grid[2]] = 0
    unguided = None
    if empty is not None:
        text, mask = (value.expand(count, *value.shape[1:]) for value in empty)
        unguided = replace(wanted, text=text, mask=mask)
    for sigma, following in pairwise(sigmas):
        level = torch.full((count,), sigma)
        if given is not None:
            video = torch.where(given[..., None] == 0, wanted.video, video)
        ways = velocity(model, wanted, video, audio, level, given=given)
        if unguided is not None:
            others = velocity(model, unguided, video, audio, level, given=given)
            ways = tuple(
                other + scale * (way - other) for way, other in zip(ways, others, strict=True)
            )
        video = video + (following - sigma) * ways[0]
        audio = audio + (following - sigma) * ways[1]
    if given is not None:
        video = torch.where(given[..., None] == 0, wanted.video, video)
    return video, audio
