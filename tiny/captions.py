"""Captions of the world's scenes, and scenes by their captions.

A small grammar: things with a colour, a shape, sometimes a size, and a motion; sometimes the
ground; sometimes that it is silent. What a caption leaves open, the scene chooses.
"""

import hashlib
import random
from dataclasses import dataclass

from tiny import world
from tiny.world import Scene

# What is said of a motion, first the usual way.
MOTIONS: dict[str, tuple[str, ...]] = {
    "left": ("moving left", "moving to the left", "that moves left"),
    "right": ("moving right", "moving to the right", "that moves right"),
    "up": ("moving up", "rising", "that moves up"),
    "down": ("moving down", "falling", "that moves down"),
    "still": ("standing still", "at rest", "that stands still"),
    "bouncing": ("bouncing", "bouncing up and down", "that bounces"),
    "growing": ("growing", "growing larger", "that grows"),
}
# What is said of the camera, where a LoRA does not move it.
CAMERA: dict[str, str] = {
    "dolly_in": "dolly in",
    "dolly_out": "dolly out",
    "dolly_left": "dolly left",
    "dolly_right": "dolly right",
    "jib_up": "jib up",
    "jib_down": "jib down",
    "static": "static camera",
}
SILENCE = (", in silence", " without a sound")
HELD_OUT = 5  # one of so many combinations of colour, shape and motion is never trained on
TWO = 0.2  # share of scenes with two things
SILENT = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Captioned:
    """A scene and what is said of it."""

    text: str
    scene: Scene


def held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether a combination is kept for the measures."""
    digest = hashlib.sha256(f"{colour} {shape} {motion}".encode()).digest()
    return digest[0] % HELD_OUT == 0


def combinations(*, held: bool) -> list[tuple[str, str, str]]:
    """Every combination of colour, shape and motion that is, or is not, held out."""
    return [
        (colour, shape, motion)
        for colour in world.COLOURS
        for shape in world.SHAPES
        for motion in world.MOTIONS
        if held_out(colour, shape, motion) is held
    ]


def draw_scene(
    draw: random.Random, *, aspect: float = 5 / 3, textured: bool = False, held: bool = False
) -> Captioned:
    """A random scene with a caption; `textured` keeps plain grounds out, `held` draws one thing of
    a combination that training leaves out.
    """
    kinds = _HELD if held else _TRAINED
    count = 1 if held or draw.random() >= TWO else 2
    things, phrases = [], []
    for colour, shape, motion in draw.sample(kinds, count):
        thing = world.thing(draw, aspect=aspect, colour=colour, shape=shape, motion=motion)
        things.append(thing)
        size = f"{thing.size} " if draw.random() < 0.5 else ""
        way = MOTIONS[motion][0 if draw.random() < 0.6 else draw.randrange(1, 3)]
        phrases.append(f"a {size}{colour} {shape} {way}")
    silent = draw.random() < SILENT
    textures = [name for name in world.TEXTURES if name != "plain" or not textured]
    scene = world.scene(draw, tuple(things), texture=draw.choice(textures), silent=silent)
    text = " and ".join(phrases) + _ground(draw, scene) + (draw.choice(SILENCE) if silent else "")
    if draw.random() < 0.5:
        text = text[0].upper() + text[1:]
    return Captioned(text=text + ("." if draw.random() < 0.3 else ""), scene=scene)


def directed(text: str, move: str) -> str:
    """A caption, and what the camera does."""
    said = CAMERA[move]
    return f"{text[:-1]}, {said}." if text.endswith(".") else f"{text}, {said}"


def _ground(draw: random.Random, scene: Scene) -> str:
    """What is said of the ground: colour and texture, one of them, or nothing."""
    words = [
        word for word in (scene.ground, scene.texture) if draw.random() < 0.7 and word is not None
    ]
    return f" on a {' '.join(words)} ground" if words else ""


_TRAINED, _HELD = combinations(held=False), combinations(held=True)
