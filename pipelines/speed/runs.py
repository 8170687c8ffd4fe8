"""Tokens of one noise level: stretches of a pass, each with the share of the noise it carries.

A held picture has a level of its own, and every token of it the same one. So the modulation of a
block, which depends on the level alone, is made once for each distinct level and not once for each
token. Plain numbers: nothing is read back from the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens [start, end) at one level: row `level` of what was made for each."""

    start: int
    end: int
    level: int


@dataclass(frozen=True, slots=True)
class Levels:
    """The distinct shares of the noise, 1 - strength, and which tokens have which."""

    shares: tuple[float, ...]
    runs: tuple[Run, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all runs."""
        return self.runs[-1].end

    def rows(self, device: torch.device) -> Tensor:
        """Row of each token, int32 (tokens,)."""
        lengths = torch.tensor([run.end - run.start for run in self.runs])
        levels = torch.tensor([run.level for run in self.runs], dtype=torch.int32)
        return levels.repeat_interleave(lengths, output_size=self.tokens).to(device)


def levels_of(stretches: Sequence[tuple[int, int, float]], tokens: int) -> Levels:
    """Levels of `tokens` tokens whose stretches [start, end) carry a share; the others carry all.

    Where stretches overlap, the later one counts.
    """
    edges = sorted({0, tokens, *(edge for start, end, _ in stretches for edge in (start, end))})
    pieces: list[tuple[int, int, float]] = []
    for start, end in pairwise(edges):
        share = 1.0
        for first, last, value in stretches:
            share = value if first <= start and end <= last else share
        if pieces and pieces[-1][2] == share:
            pieces[-1] = (pieces[-1][0], end, share)
        else:
            pieces.append((start, end, share))
    shares = tuple(dict.fromkeys(share for _, _, share in pieces))
    return Levels(
        shares=shares,
        runs=tuple(Run(start, end, shares.index(share)) for start, end, share in pieces),
    )
