"""Where LTX-2.5's invented pictures sit, and the tiles of a temporal round. Integers, no torch.

The layout is the reference's for generation at a dynamic frame rate: the clip is divided into
segments of 24 or 32 frames, each of which ends with a picture that the model makes as a still, and
a round refines whole segments, so that neighbouring tiles agree on the picture between them.
"""

from dataclasses import dataclass
from itertools import pairwise

from pipelines.geometry import TEMPORAL
from pipelines.plan import Tile

SEGMENTS = (24, 32)  # frames; the one that pads the clip least, the longer one where both do


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A clip that was lengthened to whole segments."""

    frames: int  # pixel frames, 8k + 1
    slots: tuple[int, ...]  # pixel frame at which each segment ends


def whole_segments(frames: int) -> Grid:
    """The grid of a clip of 8k + 1 frames, at least 9."""
    if frames < TEMPORAL + 1 or (frames - 1) % TEMPORAL:
        raise ValueError(f"a clip of {frames} frames has no segments; 9, 17, 25, ... do")
    content = frames - 1
    length = min(reversed(SEGMENTS), key=lambda segment: -content % segment)
    padded = content + -content % length
    return Grid(frames=padded + 1, slots=tuple(range(length, padded + 1, length)))


def tiles_between(known: tuple[int, ...], count: int) -> tuple[Tile, ...]:
    """Tiles of a clip whose segments end at the pixel frames `known`, the last being its last.

    At most `count`, of whole segments, the longer ones first. A tile after the first begins one
    segment and one latent early; what it makes of those is its neighbour's and is dropped.
    """
    ends = [0, *(frame // TEMPORAL for frame in known)]
    lead = ends[1] + 1
    segments = len(known)
    count = min(count, segments)
    tiles: list[Tile] = []
    done = 0
    for number in range(count):
        first = ends[done] + 1  # latent after the picture that the neighbour ends with
        start = max(0, first - lead) if number else 0
        done += segments // count + (number < segments % count)
        tiles.append(_tile(start, ends[done] + 1, first - start if number else 0, known))
    return tuple(tiles)


def _tile(start: int, end: int, drop: int, known: tuple[int, ...]) -> Tile:
    first, last = start * TEMPORAL, (end - 1) * TEMPORAL
    anchors = tuple(frame for frame in known if first <= frame <= last)
    marks = [first, *(frame for frame in anchors if frame > first)]
    slots = tuple((left + right) // 2 for left, right in pairwise(marks))
    return Tile(start=start, end=end, drop=drop, anchors=anchors, slots=slots)
