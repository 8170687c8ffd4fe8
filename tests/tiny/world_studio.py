"""A studio without a model: it films the world as captions say, or with one thing wrong."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tiny import sound, world
from tiny.captions import Captioned
from tiny.evaluate.studio import Frames, Made, asked, filmed
from tiny.evaluate.videos import MOVED, blended, repeated, soft
from tiny.latents import FPS, LARGE
from tiny.measure import sharpness

RATE = 24000
ASPECT = LARGE[1] / LARGE[0]


@dataclass(frozen=True)
class WorldStudio:
    """What a perfect checkpoint would make. `flaws` are what it does not do: it ignores the
    `prompt`, the `seed`, the `image`, the `side`, the `length` or the `silence` that is asked for,
    or the `camera_motion`, shows the picture and then another scene (`onward`), shifts what it
    details (`place`), enlarges by `soft` ways, or makes no new frame.
    """

    flaws: frozenset[str] = field(default_factory=frozenset)
    scenes: int = 3  # seeds that it knows the true clips of

    def make(self, asked_for: Captioned, seed: int, **options: Any) -> Made:
        found = asked(99) if "prompt" in self.flaws else asked_for
        (thing,) = found.scene.things
        draw = random.Random(0 if "seed" in self.flaws else f"{asked_for.text} {seed}")
        kind = {name: getattr(thing, name) for name in ("colour", "shape", "motion")}
        scene = world.scene(
            draw,
            (world.thing(draw, **kind),),
            texture=found.scene.texture,
            silent=asked_for.scene.silent and "silence" not in self.flaws,
        )
        move = None if "camera_motion" in self.flaws else options.get("camera_motion")
        camera = world.camera(move, draw)
        picture = None if "image" in self.flaws else options.get("image")
        if picture and "onward" not in self.flaws:
            scene, camera = found.scene, world.camera(None, random.Random(seed))
        count = options.get("num_frames", 49)
        clip = world.film(scene, camera, torch.linspace(0, 1, count), 96, 160)
        frames = (clip.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
        heard = 49 if "length" in self.flaws else count
        wave = sound.waveform(scene, camera, heard / FPS, RATE, aspect=ASPECT).numpy()
        if "side" in self.flaws:
            wave = wave[::-1]
        wave = wave[:, : int((heard / FPS - 0.03) * RATE)]
        made = Made.of(asked_for, frames, wave, RATE)
        # Read at half the size, which is quicker, and shown at the whole one.
        first, early = (
            each.repeat(2, axis=0).repeat(2, axis=1) for each in (made.first, made.early)
        )
        first = np.array(Image.open(picture)) if picture else first
        return replace(made, first=first, early=early)

    def restored(self, frames: Frames, **options: Any) -> Frames:
        if options["task"] == "detail":
            return self._detailed(frames, options.get("strength", 1.0))
        if options.get("temporal"):
            if "frames" in self.flaws:
                made = repeated(frames)
            elif "blend" in self.flaws:
                made = blended(frames)
            else:
                made = self._true(frames, 2 * len(frames) - 1, frames.shape[1:3], ("bouncing",))
            return np.concatenate((made, made[-1:]))
        high, wide = 2 * frames.shape[1], 2 * frames.shape[2]
        if "soft" in self.flaws:
            return frames.repeat(2, axis=1).repeat(2, axis=2)
        return self._true(frames, len(frames), (high, wide), world.MOTIONS)

    def through(self, frames: Frames) -> Frames:
        return frames

    def _detailed(self, frames: Frames, strength: float) -> Frames:
        sharp = self._true(frames, len(frames), frames.shape[1:3], world.MOTIONS)
        pixels = round(2 * MOVED * frames.shape[1])
        if strength < 0.5:
            return frames
        if "place" in self.flaws:
            return np.roll(sharp, pixels, axis=2)  # sharp, and not where it was
        return soft(sharp, 8) if "soft" in self.flaws else sharp

    def _true(self, frames: Frames, count: int, size: Any, motions: Any) -> Frames:
        """The clip of the world that is most like these frames, at another size or rate."""
        found = [asked(seed, motions=motions) for seed in range(self.scenes)]

        def likeness(seed: int) -> float:
            ends = filmed(found[seed], seed, frames.shape[1:3], frames=2)
            return sharpness.psnr(ends, frames[[0, -1]])

        best = max(range(self.scenes), key=likeness)
        return filmed(found[best], best, size, frames=count)


def flawed(*flaws: str) -> WorldStudio:
    """A studio with these flaws."""
    return replace(WorldStudio(), flaws=frozenset(flaws))
