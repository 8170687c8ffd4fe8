"""How often the recognisers are right, on true clips and on worn ones.

`python -m tiny.measure.accuracy` prints a table; CPU minutes for the usual number of clips.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tiny import world
from tiny.measure import scene
from tiny.measure.wear import WEARS
from tiny.world import Scene

MOVES = (None, *world.CAMERAS)
ASKED = ("colour", "shape", "motion", "camera")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filmed:
    """A true clip of one thing and what is to be read in it."""

    frames: NDArray[np.uint8]  # (n, h, w, 3)
    scene: Scene
    move: str | None

    @property
    def truth(self) -> dict[str, str | None]:
        """What each of `ASKED` is."""
        (thing,) = self.scene.things
        return dict(zip(ASKED, (thing.colour, thing.shape, thing.motion, self.move), strict=True))


def film(
    seed: int,
    *,
    size: tuple[int, int] = (160, 96),
    frames: int = 49,
    move: str | None,
    texture: str | None = None,
    **kind: str,
) -> Filmed:
    """A clip of width and height `size`, of the thing, texture and move that are given, the rest by
    chance; the texture is never plain by chance, since then nothing shows what the camera does.
    """
    draw = random.Random(seed)
    width, height = size
    thing = world.thing(draw, aspect=width / height, **kind)
    texture = texture or draw.choice([name for name in world.TEXTURES if name != "plain"])
    filmed = world.scene(draw, (thing,), texture=texture)
    time = torch.linspace(0, 1, frames)
    clip = world.film(filmed, world.camera(move, draw), time, height, width)
    bytes_ = (clip.permute(1, 2, 3, 0) * 255).round().to(torch.uint8)
    return Filmed(frames=bytes_.numpy(), scene=filmed, move=move)


def clips(count: int, *, size: tuple[int, int] = (160, 96), first: int = 0) -> Iterator[Filmed]:
    """So many clips, every camera move in turn."""
    for seed in range(first, first + count):
        yield film(seed, size=size, move=MOVES[seed % len(MOVES)])


def right(filmed: Filmed, wear: str, seed: int) -> dict[str, bool]:
    """Which of `ASKED` are read rightly in a clip that is worn in one way of `WEARS`."""
    seen = scene.read(WEARS[wear](filmed.frames, np.random.default_rng(seed)))
    return {name: getattr(seen, name).name == truth for name, truth in filmed.truth.items()}


def main() -> None:
    """The command."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--clips", type=int, default=200)
    asked.add_argument("--size", type=int, nargs=2, default=(160, 96), metavar=("WIDTH", "HEIGHT"))
    asked.add_argument("--wear", nargs="+", choices=list(WEARS), default=list(WEARS))
    given = asked.parse_args()
    counts = {wear: Counter() for wear in given.wear}
    for seed, filmed in enumerate(clips(given.clips, size=tuple(given.size))):
        for wear in given.wear:
            counts[wear].update(right(filmed, wear, seed))
    sys.stdout.write("| wear | " + " | ".join(ASKED) + " |\n|-" + "|-" * len(ASKED) + "|\n")
    for wear, count in counts.items():
        shares = " | ".join(f"{100 * count[name] / given.clips:.1f} %" for name in ASKED)
        sys.stdout.write(f"| {wear} | {shares} |\n")


if __name__ == "__main__":
    main()
