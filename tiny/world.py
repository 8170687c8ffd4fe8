"""The synthetic world: coloured things that move on a ground, and the camera that films them.

Lengths are in heights of the frame, the origin is its middle, x grows to the right and y down.
Time runs from 0 at the first frame to 1 at the last, whatever a clip's duration is, so that a thing
that moves left has crossed the picture when the clip ends.
"""

import math
import random
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.16, 0.14),
    "yellow": (0.97, 0.85, 0.16),
    "green": (0.16, 0.74, 0.25),
    "blue": (0.20, 0.38, 0.96),
    "purple": (0.72, 0.26, 0.86),
    "white": (0.96, 0.96, 0.96),
}
SHAPES = ("circle", "square", "triangle", "ring")
SIZES: dict[str, float] = {"small": 0.18, "large": 0.27}  # radius
MOTIONS = ("left", "right", "up", "down", "still", "bouncing", "growing")
GROUNDS: dict[str, tuple[float, float, float]] = {
    "gray": (0.42, 0.42, 0.44),
    "navy": (0.13, 0.18, 0.36),
    "brown": (0.40, 0.26, 0.16),
    "teal": (0.10, 0.38, 0.40),
    "black": (0.07, 0.07, 0.08),
}
TEXTURES = ("plain", "striped", "checked", "dotted")
CAMERAS = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static")

PERIOD = 0.5  # of a texture
DEPTH = 0.35  # how much darker the dark half of a texture is
SHADE = 0.06  # what a black ground's texture adds instead
DRIFT = (0.06, 0.12)  # how far a hand-held camera wanders over a clip
PAN, TILT, ZOOM = 0.6, 0.4, 1.5  # how far a camera move goes over a clip
BOUNCES = 2
_MARGIN = 3.0  # pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One subject. `x`, `y` is where the middle of its path is, `reach` half the path's length."""

    colour: str
    shape: str
    size: str
    motion: str
    x: float
    y: float
    reach: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is there to film. `offset` shifts the texture; later things are in front."""

    things: tuple[Thing, ...]
    ground: str
    texture: str
    offset: tuple[float, float]
    silent: bool = False


class AnyCamera(Protocol):
    """What films: where it looks, how near, and how it leans, at each time."""

    def at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and zoom, each of `time`'s shape."""
        ...

    def lean(self, time: Tensor) -> Tensor | None:
        """How far it leans to the right, in radians, of `time`'s shape; None if it never does."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Where the camera looks at the start and at the end, and its zoom there."""

    begin: tuple[float, float] = (0.0, 0.0)
    end: tuple[float, float] = (0.0, 0.0)
    zoom: tuple[float, float] = (1.0, 1.0)

    def at(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and zoom at each time, each of `time`'s shape. A zoom grows at a constant rate."""
        x = self.begin[0] + (self.end[0] - self.begin[0]) * time
        y = self.begin[1] + (self.end[1] - self.begin[1]) * time
        rate = math.log(self.zoom[1] / self.zoom[0])
        return x, y, self.zoom[0] * torch.exp(rate * time)

    def lean(self, time: Tensor) -> None:
        """It is held upright."""


def camera(move: str | None, draw: random.Random) -> Camera:
    """A camera that makes one of `CAMERAS`; None is a hand-held one that drifts a little."""
    if move == "static":
        return Camera()
    if move is None:
        angle, length = draw.uniform(0, 2 * math.pi), draw.uniform(*DRIFT) / 2
        x, y = length * math.cos(angle), length * math.sin(angle)
        return Camera(begin=(-x, -y), end=(x, y))
    if move in ("dolly_in", "dolly_out"):
        near, far = math.sqrt(ZOOM), 1 / math.sqrt(ZOOM)
        return Camera(zoom=(far, near) if move == "dolly_in" else (near, far))
    x, y = {
        "dolly_left": (-PAN / 2, 0.0),
        "dolly_right": (PAN / 2, 0.0),
        "jib_up": (0.0, -TILT / 2),
        "jib_down": (0.0, TILT / 2),
    }[move]
    return Camera(begin=(-x, -y), end=(x, y))


def thing(
    draw: random.Random,
    *,
    aspect: float = 5 / 3,
    colour: str | None = None,
    shape: str | None = None,
    size: str | None = None,
    motion: str | None = None,
) -> Thing:
    """A thing of the given kind, the rest by chance, placed so that it stays in the picture."""
    size = size or draw.choice(tuple(SIZES))
    motion = motion or draw.choice(MOTIONS)
    radius = SIZES[size]
    wide, high = aspect / 2 - radius, 0.5 - radius
    reach = 0.0
    if motion in ("left", "right"):
        reach = draw.uniform(0.6, 0.9) * wide
        wide -= reach
    elif motion in ("up", "down", "bouncing"):
        reach = draw.uniform(0.75, 0.95) * high
        high -= reach
    return Thing(
        colour=colour or draw.choice(tuple(COLOURS)),
        shape=shape or draw.choice(SHAPES),
        size=size,
        motion=motion,
        x=draw.uniform(-wide, wide) * 0.9,
        y=draw.uniform(-high, high) * 0.9,
        reach=reach,
    )


def scene(
    draw: random.Random,
    things: tuple[Thing, ...],
    *,
    ground: str | None = None,
    texture: str | None = None,
    silent: bool = False,
) -> Scene:
    """A scene around `things`, the rest by chance."""
    return Scene(
        things=things,
        ground=ground or draw.choice(tuple(GROUNDS)),
        texture=texture or draw.choice(TEXTURES),
        offset=(draw.uniform(0, PERIOD), draw.uniform(0, PERIOD)),
        silent=silent,
    )


def path(thing: Thing, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and radius of a thing at each time, in the world."""
    x, y = torch.full_like(time, thing.x), torch.full_like(time, thing.y)
    radius = torch.full_like(time, SIZES[thing.size])
    way = thing.reach * (2 * time - 1)
    if thing.motion in ("left", "right"):
        x = x + (way if thing.motion == "right" else -way)
    elif thing.motion in ("up", "down"):
        y = y + (way if thing.motion == "down" else -way)
    elif thing.motion == "bouncing":
        y = y + thing.reach * (1 - 2 * torch.sin(math.pi * BOUNCES * time).abs())
    elif thing.motion == "growing":
        radius = radius * (0.55 + 0.75 * time)
    return x, y, radius


def film(
    scene: Scene,
    camera: AnyCamera,
    time: Tensor,
    height: int,
    width: int,
    *,
    window: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> Tensor:
    """The frames at `time` (n,): float32 (3, n, height, width), 0 to 1.

    `window` is the part of a larger picture to show: its middle, x and y, and how many times
    higher the larger picture is.
    """
    return film_and_things(scene, camera, time, height, width, window=window)[0]


def film_and_things(
    scene: Scene,
    camera: AnyCamera,
    time: Tensor,
    height: int,
    width: int,
    *,
    window: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """The frames as by `film`, and where things are, with a margin of a few pixels, (n, h, w)."""
    part_x, part_y, larger = window
    v = part_y + ((torch.arange(height) + 0.5) / height - 0.5)[None, :, None] / larger
    u = part_x + ((torch.arange(width) + 0.5 - width / 2) / height)[None, None, :] / larger
    x, y = in_world(camera, time, u, v)
    # Of the picture, in the world.
    pixel = 1 / (height * larger * camera.at(time)[2][:, None, None])
    frames = _ground(scene, x, y, pixel)
    things = torch.zeros_like(frames[0])
    for thing in scene.things:
        at_x, at_y, radius = (value[:, None, None] for value in path(thing, time))
        distance = _distance(thing.shape, x - at_x, y - at_y, radius) / pixel
        covered = (0.5 - distance).clamp(0, 1)
        colour = torch.tensor(COLOURS[thing.colour])[:, None, None, None]
        frames = frames + covered * (colour - frames)
        things = torch.maximum(things, (0.5 + _MARGIN - distance).clamp(0, 1))
    return frames, things


def in_world(camera: AnyCamera, time: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of what the picture shows at (u, v) at each time (n,): (n, h, w) where they broadcast
    to it.
    """
    middle_x, middle_y, zoom = (value[:, None, None] for value in camera.at(time))
    lean = camera.lean(time)
    if lean is not None:
        cos, sin = lean.cos()[:, None, None], lean.sin()[:, None, None]
        u, v = u * cos - v * sin, u * sin + v * cos
    return middle_x + u / zoom, middle_y + v / zoom


def on_screen(camera: AnyCamera, time: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The other way: where the picture shows x and y, (n,) or (n, h, w), at each time (n,)."""
    shape = (-1, *(1 for _ in x.shape[1:]))
    middle_x, middle_y, zoom = (value.view(shape) for value in camera.at(time))
    u, v = x - middle_x, y - middle_y
    lean = camera.lean(time)
    if lean is not None:
        cos, sin = lean.cos().view(shape), lean.sin().view(shape)
        u, v = u * cos + v * sin, v * cos - u * sin
    return u * zoom, v * zoom


def _ground(scene: Scene, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """The textured ground, (3, n, height, width)."""
    x, y = (x + scene.offset[0]) / PERIOD, (y + scene.offset[1]) / PERIOD
    across, down = torch.sin(2 * math.pi * x), torch.sin(2 * math.pi * y)
    if scene.texture == "striped":
        wave = torch.sin(2 * math.pi * (x + y))
    elif scene.texture == "checked":
        wave = across * down
    elif scene.texture == "dotted":
        wave = across + down - 0.8
    else:
        wave = torch.full_like(x + y, 1e3)
    # The wave passes through zero with a slope of about 2 pi / PERIOD.
    light = (0.5 + wave * (PERIOD / (2 * math.pi)) / (3 * pixel)).clamp(0, 1)
    colour = torch.tensor(GROUNDS[scene.ground])[:, None, None, None]
    if scene.ground == "black":
        return colour + SHADE * light
    return colour * (1 - DEPTH * (1 - light))


def _distance(shape: str, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Signed distance to the shape's edge, negative inside; shapes look equally large."""
    if shape == "circle":
        return torch.hypot(x, y) - radius
    if shape == "ring":
        return (torch.hypot(x, y) - 0.74 * radius).abs() - 0.26 * radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.86 * radius
    # An equilateral triangle, its point up and its middle between point and base.
    slope = 0.5 * math.sqrt(3)
    return torch.maximum(y - 0.8 * radius, slope * x.abs() - 0.5 * y - 0.5 * radius)
