"""What the camera did, by how the ground moves from the first frame to the last."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiny import world
from tiny.measure import things
from tiny.measure.picture import Floats, blur, grown, small
from tiny.measure.reading import Reading
from tiny.measure.register import register
from tiny.measure.things import Track

STEPS = 12  # pairs of frames that are chained over a clip
MARGIN = 3  # pixels around a thing that are not ground
AGREE = 0.5  # how alike two grounds have to be, at least
CLEAR = 0.75  # of the pairs have to be
ERRATIC = 0.25  # heights of a way to and fro: frames in disorder, no camera
TEXTURED = 0.008  # of brightness, the least standard deviation of a textured ground
STRIPES = 0.3  # of the slopes across, the most along stripes; other textures have about as many
WHOLE = 0.5  # of a move, to be that move
BESIDE = 0.5  # of the move, the most that another may be
SLANTED = 0.3  # of a direction, the least part along an axis that can be divided by
LONGEST, LONGER = 1.2, 0.2  # whole moves of a camera, and the heights that one more counts
WOBBLE = 0.035  # heights; a thing that stays where it is may stray so far
STILL, STILL_ZOOM = 0.015, 0.01  # heights and logarithm of the zoom: a static camera
HELD = world.DRIFT[0] / 2  # heights; a thing at rest strays farther before a camera in a hand
FAINT = 0.1  # of a move; a ground that stays may seem to make so much of one
# Whole moves: x, y and the logarithm of the zoom, of the picture's content.
MOVES: dict[str, tuple[float, float, float]] = {
    "dolly_in": (0, 0, math.log(world.ZOOM)),
    "dolly_out": (0, 0, -math.log(world.ZOOM)),
    "dolly_left": (world.PAN, 0, 0),
    "dolly_right": (-world.PAN, 0, 0),
    "jib_up": (0, world.TILT, 0),
    "jib_down": (0, -world.TILT, 0),
}
_UNKNOWN = Reading(name=None, scores=dict.fromkeys(world.CAMERAS, 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Travel:
    """Of the ground's picture, from the first frame to each of n: content at u of the first frame
    is at `zoom` u + (x, y), from the frame's middle, so + is content that moves right or down.

    `along` is None where the ground shows motion in every direction. Stripes show it in one only:
    then it is the unit vector (x, y) of that, and x and y are the motion along it.
    """

    x: Floats  # (n,) heights
    y: Floats  # (n,) heights
    zoom: Floats  # (n,)
    along: tuple[float, float] | None


def travel(frames: NDArray[np.uint8], found: NDArray[np.int8] | None = None) -> Travel | None:
    """How the ground moves in frames (n, h, w, 3); None for a plain ground, and where frames have
    too little in common or are in disorder. `found` are the frames' `things.labels`, where they
    are known.
    """
    found = things.labels(frames) if found is None else found
    if len(frames) < 2:
        return None
    count = min(STEPS + 1, len(frames))
    at = np.linspace(0, len(frames) - 1, count).round().astype(int)
    # Also where a thing is just before and after: generated frames show a trace of it there.
    taken = found != things.NOTHING
    span = max(1, round(len(frames) / STEPS))
    near = [taken[max(0, index - span) : index + span + 1].any(0) for index in at]
    ignore = grown(np.stack(near), MARGIN)
    images = small(frames[at]).mean(-1)
    deviation, along = _structure(images, ignore)
    if deviation < TEXTURED:
        return None
    moves = register(images[:-1], images[1:], np.stack((ignore[:-1], ignore[1:])))
    good = moves.agreement >= AGREE
    if good.mean() < CLEAR:
        return None
    # A pair of pictures that have nothing in common moved as the others did.
    steps = [np.where(good, each, each[good].mean()) for each in (moves.x, moves.y, moves.zoom)]
    x, y, zoom = [0.0], [0.0], [1.0]
    for step_x, step_y, step_zoom in zip(*steps, strict=True):
        x.append(step_zoom * x[-1] + step_x)
        y.append(step_zoom * y[-1] + step_y)
        zoom.append(step_zoom * zoom[-1])
    every = np.arange(len(frames))
    x, y, zoom = (np.interp(every, at, values).astype(np.float32) for values in (x, y, zoom))
    if along is not None:
        known = x * along[0] + y * along[1]
        x, y = known * along[0], known * along[1]
    way = np.abs(np.diff(x)).sum() + np.abs(np.diff(y)).sum()
    if way - abs(x[-1]) - abs(y[-1]) > ERRATIC:
        return None
    return Travel(x=x, y=y, zoom=zoom, along=along)


def _structure(
    images: Floats, ignore: NDArray[np.bool_]
) -> tuple[float, tuple[float, float] | None]:
    """The ground's standard deviation of brightness, and the direction (x, y) across its stripes,
    None if it has none.
    """
    kept = ~grown(ignore, 2)
    kept[:, [0, 1, -2, -1]] = kept[:, :, [0, 1, -2, -1]] = False
    if kept.mean() < 0.05:
        return 0.0, None
    images = blur(images, 2)
    deviation = np.median(
        [image[keep].std() for image, keep in zip(images, kept, strict=True) if keep.any()]
    )
    down, across = np.gradient(images, axis=(1, 2))
    slopes = np.stack((across[kept], down[kept]))
    strength, directions = np.linalg.eigh(slopes @ slopes.T)  # ascending
    if strength[0] > STRIPES * strength[1]:
        return deviation, None
    return deviation, (float(directions[0, 1]), float(directions[1, 1]))


def move(frames: NDArray[np.uint8]) -> Reading:
    """Which of `world.CAMERAS` made a clip: uint8 (n, h, w, 3). No name where the camera is
    hand-held, or where it cannot be told: a plain ground, half a move, two at a time.

    Scores are the share of the whole move that was made, negative for its opposite; that of
    "static" is 1 for no motion and 0.5 at the most that counts as none.
    """
    found = things.labels(frames)
    return move_of(travel(frames, found), things.main(found))


def move_of(whole: Travel | None, thing: Track | None) -> Reading:
    """The same by the ground's motion and the main thing's track."""
    if whole is None:
        return _UNKNOWN
    x, y, zoom = resolved(whole, thing)
    return _named(x, y, math.log(zoom))


def at_rest(ground: Reading, thing: Track | None) -> Reading:
    """The same of a scene in which nothing but the camera moves, by what the ground says and by the
    main thing's track: a move that one of them tells and the other does not deny. The camera is
    static where the ground stays, or cannot be read, and the thing strays less than half as far as
    in a hand.
    """
    at = None if thing is None else things.clear(thing)
    if thing is None or at is None:
        return ground
    zoom = things.rate(np.log(thing.area) / 2, at)
    grown = np.exp(zoom * np.arange(len(thing.area)) / (len(thing.area) - 1))
    seen = _named(*(things.rate(values / grown, at) for values in (thing.x, thing.y)), zoom)
    if _stays(ground) and _held(thing, at) and abs(zoom) <= _most_zoom(ground):
        return Reading(name="static", scores=ground.scores)
    one = ground if ground.name is not None else seen
    told = len({ground.name, seen.name} - {None}) == 1 and one.name != "static"
    return Reading(name=one.name if told else None, scores=one.scores)


def _stays(ground: Reading) -> bool:
    """Whether a ground shows no move; also one that cannot be read."""
    return max(abs(ground.scores[name]) for name in MOVES) <= FAINT


def _held(thing: Track, at: NDArray[np.intp]) -> bool:
    """Whether a thing strays little, to one side or to and fro."""
    way = math.hypot(*(things.rate(values, at) for values in (thing.x, thing.y)))
    swing = max(float(np.ptp(values[at])) for values in (thing.x, thing.y))
    return way <= HELD and swing <= 2 * HELD


def _most_zoom(ground: Reading) -> float:
    """The logarithm of the zoom that a thing at rest may seem to make by its changing outline:
    half a camera's, less where no ground denies it.
    """
    read = any(ground.scores.values())
    return (WHOLE if read else WHOLE / 2) * math.log(world.ZOOM)


def _named(x: float, y: float, zoom: float) -> Reading:
    """The move that took the picture's content so far; `zoom` is a logarithm."""
    made = (x, y, zoom)
    shares = {
        name: sum(a * b for a, b in zip(made, full, strict=True)) / sum(b * b for b in full)
        for name, full in MOVES.items()
    }
    restless = max(math.hypot(x, y) / STILL, abs(made[2]) / STILL_ZOOM)
    scores = {**shares, "static": max(0.0, 1 - restless / 2)}
    if restless <= 1:
        return Reading(name="static", scores=scores)
    first = max(shares, key=shares.__getitem__)
    beside = max(abs(share) for share in shares.values() if abs(share) != abs(shares[first]))
    sure = shares[first] >= WHOLE and beside <= BESIDE * shares[first]
    return Reading(name=first if sure else None, scores=scores)


def resolved(whole: Travel, thing: Track | None) -> tuple[float, float, float]:
    """x, y and zoom of the ground's picture from the first frame to the last.

    What stripes hide is taken from the thing: its own motion is along x or along y, so the camera
    did the rest. Of the two answers the one counts in which the camera, too, keeps to an axis.
    """
    x, y, zoom = float(whole.x[-1]), float(whole.y[-1]), float(whole.zoom[-1])
    at = None if thing is None else things.clear(thing)
    if whole.along is None or thing is None or at is None:
        return x, y, zoom
    seen_x, seen_y = (things.rate(values / whole.zoom, at) for values in (thing.x, thing.y))
    across, down = whole.along
    known = x * across + y * down
    answers = [((known - down * seen_y) / across, seen_y)] if abs(across) > SLANTED else []
    answers += [(seen_x, (known - across * seen_x) / down)] if abs(down) > SLANTED else []
    x_full, y_full = min(answers, key=_oddness)
    hidden = y_full * across - x_full * down
    if abs(hidden) < WOBBLE:
        return x, y, zoom
    return x_full, y_full, zoom


def _oddness(way: tuple[float, float]) -> float:
    """How unlike a camera's a motion (x, y) is: in heights beside an axis, and more for a motion
    that is longer than any camera's.
    """
    x, y = abs(way[0]), abs(way[1])
    return min(x, y) + LONGER * max(0.0, x / world.PAN - LONGEST, y / world.TILT - LONGEST)
