"""What the main thing of a clip is and does: its colour, its shape and its motion.

The main thing is the largest of the colour with the most pixels; shape and motion can be asked of
another colour's instead. All answers about a clip at once are quicker: `scene.read`.
"""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tiny import world
from tiny.measure import camera, things
from tiny.measure.camera import Travel
from tiny.measure.picture import Floats, grown, sample, small, views
from tiny.measure.reading import Reading, best
from tiny.measure.things import Track

VIEWS = 12  # frames that a shape is averaged over
GRID = 32  # pixels of the picture that shapes are compared in
REACH = 2.7  # standard deviations from the centroid to that picture's edge
NEAR = 6  # pixels around a thing, which show the ground
FITS = 0.6  # the least likeness of a shape; small worn ones have 0.7
HOLE = 0.3  # of a thing's cover; a hole is that much deeper than what is around it
HOLED = "ring"  # the one shape with a hole
ROUND = 0.4  # the least likeness of a thing with a hole to it
SIZES = (0.92, 0.96, 1.0, 1.04, 1.08)  # of a template, next to the thing's own
RESTLESS = 8.0  # usual paths; a thing that bounces goes five
MOVED = 0.4  # of a usual path, to count as that motion
SMOOTH = 5  # frames; a path's noise would add up to a bounce


def colour(frames: NDArray[np.uint8]) -> Reading:
    """The colour of the main thing, of `world.COLOURS`. Scores are shares of all things' pixels;
    no name if there is no thing. Frames are uint8 (n, h, w, 3).
    """
    return colour_of(things.labels(frames))


def shape(frames: NDArray[np.uint8], *, colour: str | None = None) -> Reading:
    """One of `world.SHAPES`. Scores are likenesses, 1 for the true shape without any blur, and 0
    for a ring where there is no hole, for the others where there is one; no name if it is like none
    of them, or never whole in the picture.
    """
    found = things.labels(frames)
    return shape_of(frames, found, things.main(found, colour))


def motion(frames: NDArray[np.uint8], *, colour: str | None = None) -> Reading:
    """One of `world.MOTIONS`, with the camera's own motion taken off where the ground shows it.

    Scores are in usual paths of that motion for the frame's width; that of "still" falls with the
    largest of the others. No name if there is no thing, or if it is everywhere at once. On a plain
    ground a camera's move looks like the thing's.
    """
    found = things.labels(frames)
    whole = camera.travel(frames, found)
    return motion_of(things.main(found, colour), whole, frames.shape[2] / frames.shape[1])


def colour_of(found: NDArray[np.int8]) -> Reading:
    """`colour` by labelled pixels."""
    return best(things.colours(found), least=1e-6)


def motion_of(thing: Track | None, whole: Travel | None, aspect: float) -> Reading:
    """`motion` by a thing's track, the ground's motion and the frame's width in heights."""
    if thing is None:
        return Reading(name=None, scores=dict.fromkeys(world.MOTIONS, 0.0))
    x, y, area = thing.x, thing.y, thing.area
    if whole is not None:
        end_x, end_y, _ = camera.resolved(whole, thing)
        time = np.linspace(0, 1, len(x), dtype=np.float32)
        # What stripes hide of the camera's motion has no path of its own, only its end.
        x = (x - whole.x - (end_x - whole.x[-1]) * time) / whole.zoom
        y = (y - whole.y - (end_y - whole.y[-1]) * time) / whole.zoom
        area = area / whole.zoom**2
    radius = sum(world.SIZES.values()) / len(world.SIZES)
    usual_x, usual_y = 1.2 * (aspect / 2 - radius), 1.5 * (0.5 - radius)
    at = things.clear(thing)
    at = np.nonzero(~np.isnan(thing.x))[0] if at is None else at
    part = float(at[-1] - at[0]) / (len(x) - 1)  # of the clip
    right, down, larger = (things.rate(values, at) for values in (x, y, np.log(area)))
    bounces = _turns(y[at]) / (2 * world.BOUNCES * part) / usual_y
    scores = {
        "left": -right / usual_x,
        "right": right / usual_x,
        # A part of a bounce goes up or down, too.
        "up": -down / usual_y - bounces,
        "down": down / usual_y - bounces,
        "bouncing": bounces,
        "growing": larger / math.log((1.5 / 0.6) ** 2),
    }
    scores["still"] = 2 * MOVED - max(scores.values())
    gone = [np.abs(np.diff(values[at])).sum() for values in (thing.x, thing.y)]
    if max(gone[0] / usual_x, gone[1] / usual_y) > RESTLESS:
        return Reading(name=None, scores=scores)
    return best(scores, least=0.0)


def _turns(path: Floats) -> float:
    """How much longer a path is than from its begin to its end, both in the path's unit."""
    weights = np.ones(SMOOTH) / SMOOTH
    path = np.convolve(np.pad(path, SMOOTH // 2, mode="edge"), weights, mode="valid")
    return float(np.abs(np.diff(path)).sum() - abs(path[-1] - path[0]))


def shape_of(frames: NDArray[np.uint8], found: NDArray[np.int8], thing: Track | None) -> Reading:
    """`shape` by frames, their labelled pixels and a thing's track."""
    whole = [] if thing is None else np.nonzero(thing.whole)[0]
    if thing is None or not len(whole):
        return Reading(name=None, scores=dict.fromkeys(world.SHAPES, 0.0))
    at = whole[views(len(whole), VIEWS)]
    images = small(frames[at])
    covers = [_view(*each) for each in zip(images, found[at], thing.mask[at], strict=True)]
    view = np.mean(covers, axis=0)
    holed = float(np.median([_hole(cover) for cover in covers])) >= HOLE
    scores = {
        name: _likeness(view, name) if (name == HOLED) == holed else 0.0 for name in world.SHAPES
    }
    return best(scores, least=ROUND if holed else FITS)


def _hole(view: Floats) -> float:
    """How much less the middle of a view is covered than the circle around it that is most: 0 for a
    filled thing, 1 for a ring.
    """
    covered = [float(view[circle].mean()) for circle in _circles()]
    around = 1 + int(np.argmax(covered[1:]))
    return max(0.0, covered[around] - min(covered[: max(1, around - 1)]))


@cache
def _circles() -> tuple[NDArray[np.bool_], ...]:
    """The points of a view by their distance from its middle, from inside to outside."""
    line = np.linspace(-REACH, REACH, GRID)
    away = np.hypot(line[:, None], line[None, :])
    edges = np.arange(0.0, 2.4, 0.3)
    return tuple((away >= inner) & (away < outer) for inner, outer in pairwise(edges))


def _view(image: Floats, found: NDArray[np.int8], mask: NDArray[np.bool_]) -> Floats:
    """A thing's cover, 0 to 1, of `GRID` x `GRID` points: the thing's centroid is in the middle,
    the edge `REACH` of its standard deviations away.
    """
    rows, columns = np.nonzero(mask)
    near = tuple(slice(max(0, at.min() - NEAR), at.max() + NEAR + 1) for at in (rows, columns))
    image, found, mask = image[near], found[near], mask[near]
    ground = ~grown(found[None] != things.NOTHING, 2)[0]
    if not ground.any():
        return np.zeros((GRID, GRID), np.float32)
    middle = np.median(image[ground], axis=0)
    towards = np.median(image[mask], axis=0) - middle
    cover = (image - middle) @ towards / (towards @ towards)
    # Steeper, so that a texture, light here and dark there, is no cover.
    cover = ((cover - 0.2) / 0.6).clip(0, 1)
    # A soft edge has the ground's label, or even another colour's.
    cover[~grown(mask[None], 2)[0]] = 0
    rows, columns = np.nonzero(cover > 0.5)
    points = _points(rows, columns)
    return sample(cover[None], (points + rows.mean())[None], (points + columns.mean())[None])[0]


def _points(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """Where a view of pixels at these rows and columns looks, from their middle, in pixels."""
    spread = math.sqrt((rows.var() + columns.var()) / 2)
    return np.linspace(-REACH, REACH, GRID, dtype=np.float32) * spread


def _likeness(view: Floats, shape: str) -> float:
    """What a view and a shape have in common, of what one of them has, at the best size."""
    return max(
        float(np.minimum(view, template).sum() / np.maximum(view, template).sum())
        for template in _templates(shape)
    )


@cache
def _templates(shape: str) -> tuple[Floats, ...]:
    """A shape as `_view` shows it, in each of `SIZES`."""
    thing = world.Thing(
        colour="white", shape=shape, size="large", motion="still", x=0.0, y=0.0, reach=0.0
    )
    scene = world.Scene(things=(thing,), ground="black", texture="plain", offset=(0.0, 0.0))
    near = world.Camera(zoom=(0.44 / world.SIZES["large"],) * 2)  # it nearly fills the frame
    frame = world.film(scene, near, torch.zeros(1), 256, 256)[0, 0].numpy()
    cover = (frame - frame.min()) / (frame.max() - frame.min())
    rows, columns = np.nonzero(cover > 0.5)
    points = _points(rows, columns)
    views = []
    for size in SIZES:
        down, across = points / size + rows.mean(), points / size + columns.mean()
        views.append(sample(cover[None], down[None], across[None])[0])
    return tuple(views)
