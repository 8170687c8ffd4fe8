"""The colour of the ground behind the things."""

import numpy as np
from numpy.typing import NDArray

from tiny import world
from tiny.measure import things
from tiny.measure.picture import Floats, grown, small, views
from tiny.measure.reading import Reading, best

VIEWS = 5  # frames that are looked at
FEWEST = 0.5  # of the pixels, for a ground to be told


def ground(frames: NDArray[np.uint8]) -> Reading:
    """Which of `world.GROUNDS` is behind the things of a clip, uint8 (n, h, w, 3). Scores are
    shares of the pixels that no thing takes; no name if no colour has half of them.
    """
    return ground_of(frames, things.labels(frames))


def ground_of(frames: NDArray[np.uint8], found: NDArray[np.int8]) -> Reading:
    """The same by the frames' labelled pixels."""
    at = views(len(frames), VIEWS)
    free = small(frames[at])[~grown(found[at] != things.NOTHING, 2)]
    if not len(free):
        return Reading(name=None, scores=dict.fromkeys(world.GROUNDS, 0.0))
    parts = {name: _parts(name) for name in world.GROUNDS}
    distance = np.stack(
        [np.min([((free - part) ** 2).sum(-1) for part in both], axis=0) for both in parts.values()]
    )
    nearest = np.bincount(distance.argmin(0), minlength=len(parts)) / len(free)
    return best(dict(zip(parts, nearest.tolist(), strict=True)), least=FEWEST)


def _parts(name: str) -> Floats:
    """The light and the dark part of a ground, (2, 3)."""
    colour = np.array(world.GROUNDS[name], np.float32)
    if name == "black":
        return np.stack((colour + world.SHADE, colour))
    return np.stack((colour, colour * (1 - world.DEPTH)))
