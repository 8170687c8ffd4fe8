"""Finds the things in a clip: which pixels are theirs, and where the largest is in each frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiny import world
from tiny.measure.picture import Floats, small

NAMES = tuple(world.COLOURS)
NOTHING = -1  # the label of the ground
# Every colour has a channel above this, even half mixed with white; no ground has.
BRIGHT = 0.52
LEAST = 0.003  # of a square height: the smallest thing at its farthest is twice that
SEEN = 0.25  # of the frames, for a thing to be there at all, and to tell how it moves
FEWEST = 5  # frames, to tell how something changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """Where one thing is in each of n frames. Not a number where it is not seen."""

    colour: str
    x: Floats  # (n,) of its centroid, heights from the frame's middle to the right
    y: Floats  # (n,) the same, down
    area: Floats  # (n,) square heights
    whole: NDArray[np.bool_]  # (n,) seen, and away from the frame's edges
    mask: NDArray[np.bool_]  # (n, h, w) at the size of `picture.small`


def labels(frames: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Per pixel of `picture.small` the index of its colour in `NAMES`, or `NOTHING`: (n, h, w)."""
    images = small(frames)
    found = np.full(images.shape[:3], NOTHING, np.int8)
    bright = images.max(-1) > BRIGHT
    colours = np.array(list(world.COLOURS.values()), np.float32)
    known = np.concatenate((colours, _grounds()))
    pixels = images[bright]
    # The nearest: |p|^2 is the same for all.
    distance = (known**2).sum(-1) - 2 * pixels @ known.T
    nearest = distance.argmin(-1)
    found[bright] = np.where(nearest < len(colours), nearest, NOTHING)
    for index in np.unique(found[found != NOTHING]):
        mask = found == index
        found[mask & ~_solid(mask)] = NOTHING
    return found


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where most of a mask's 3x3 pixels are set: at a straight edge they are, in noise not."""
    count = np.pad(mask, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
    count = count[:, :-2] + count[:, 1:-1] + count[:, 2:]
    count = count[:, :, :-2] + count[:, :, 1:-1] + count[:, :, 2:]
    return count >= 5


def _grounds() -> Floats:
    """The light and the dark part of every ground."""
    light = np.array(list(world.GROUNDS.values()), np.float32)
    return np.concatenate((light, light * (1 - world.DEPTH)))


def colours(found: NDArray[np.int8]) -> dict[str, float]:
    """Of the pixels of every colour's largest thing, how many are each colour's, 0 to 1; all 0
    where there is no thing.
    """
    total = dict.fromkeys(NAMES, 0.0)
    for index, name in enumerate(NAMES):
        if _seen((found == index).sum((1, 2)), found):
            sizes = np.array([_largest(frame).sum() for frame in found == index])
            total[name] = float(sizes.sum()) if _seen(sizes, found) else 0.0
    every = sum(total.values())
    return {name: size / every if every else 0.0 for name, size in total.items()}


def _seen(sizes: NDArray[np.integer], found: NDArray[np.int8]) -> bool:
    """Whether so many pixels per frame (n,) are a thing that is there often enough."""
    return bool((sizes >= LEAST * found.shape[1] ** 2).mean() >= SEEN)


def track(found: NDArray[np.int8], colour: str) -> Track | None:
    """The largest thing of a colour in labelled pixels (n, h, w); None if there is none. ValueError
    for a colour that the world has not.
    """
    if colour not in NAMES:
        raise ValueError(f"no thing is {colour!r}; there are {', '.join(NAMES)}")
    mask = np.stack([_largest(frame) for frame in found == NAMES.index(colour)])
    height, width = mask.shape[1:]
    area = mask.sum((1, 2)) / height**2
    seen = area >= LEAST
    if seen.mean() < SEEN:
        return None
    mask &= seen[:, None, None]
    x = (np.arange(width) + 0.5 - width / 2) / height
    y = (np.arange(height) + 0.5) / height - 0.5
    count = np.where(seen, mask.sum((1, 2)), np.nan)
    edges = mask[:, [0, -1]].any((1, 2)) | mask[:, :, [0, -1]].any((1, 2))
    return Track(
        colour=colour,
        x=((mask.sum(1) @ x) / count).astype(np.float32),
        y=((mask.sum(2) @ y) / count).astype(np.float32),
        area=np.where(seen, area, np.nan).astype(np.float32),
        whole=seen & ~edges,
        mask=mask,
    )


def main(found: NDArray[np.int8], colour: str | None = None) -> Track | None:
    """The largest thing of a colour, or of the colour that is seen most; None if there is none."""
    if colour is not None:
        return track(found, colour)
    shares = colours(found)
    name = max(shares, key=shares.__getitem__)
    return track(found, name) if shares[name] else None


def clear(thing: Track) -> NDArray[np.intp] | None:
    """The frames that tell how a thing changes over the clip, those in which it is whole; None if
    they are too few or too near to each other.
    """
    at = np.nonzero(thing.whole)[0]
    enough = len(at) >= FEWEST and at[-1] - at[0] >= SEEN * (len(thing.x) - 1)
    return at if enough else None


def rate(values: Floats, at: NDArray[np.intp]) -> float:
    """How much values (n,) grow over a whole clip, by a line through those at some frames."""
    return float(np.polyfit(at / (len(values) - 1), values[at], 1)[0])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask (h, w), by rows' runs that touch, corners included."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, begins = np.nonzero(change == 1)
    ends = np.nonzero(change == -1)[1]
    if not len(rows):
        return mask
    parent = _joined(rows.tolist(), begins.tolist(), ends.tolist())
    sizes = np.bincount(parent, weights=ends - begins)
    kept = np.zeros_like(mask)
    for index in np.nonzero(parent == sizes.argmax())[0]:
        kept[rows[index], begins[index] : ends[index]] = True
    return kept


def _joined(rows: list[int], begins: list[int], ends: list[int]) -> NDArray[np.intp]:
    """For each run, in reading order, the first run of its connected part."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    above = 0  # the first run that may touch the current one
    for index, row in enumerate(rows):
        while rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] < begins[index]):
            above += 1
        other = above
        while other < index and rows[other] == row - 1 and begins[other] <= ends[index]:
            first, second = sorted((root(other), root(index)))
            parent[second] = first
            other += 1
    return np.array([root(index) for index in range(len(rows))], np.intp)
