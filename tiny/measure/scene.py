"""Everything that a clip's frames tell, read in one go."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiny.measure import camera, ground, subject, things
from tiny.measure.reading import Reading
from tiny.measure.things import Track


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Of one thing: its colour, shape and motion, where it is, the ground behind it, and the camera
    that filmed it. See the functions of these names in `subject`, `things.main`, `ground.ground`
    and `camera.move`.
    """

    colour: Reading
    shape: Reading
    motion: Reading
    ground: Reading
    camera: Reading
    thing: Track | None


def read(frames: NDArray[np.uint8], *, colour: str | None = None) -> Seen:
    """What is seen in a clip, uint8 (n, h, w, 3), of the main thing; shape and motion of the thing
    of a given colour instead.
    """
    found = things.labels(frames)
    whole = camera.travel(frames, found)
    thing = things.main(found, colour)
    return Seen(
        colour=subject.colour_of(found),
        shape=subject.shape_of(frames, found, thing),
        motion=subject.motion_of(thing, whole, frames.shape[2] / frames.shape[1]),
        ground=ground.ground_of(frames, found),
        camera=camera.move_of(whole, thing),
        thing=thing,
    )
