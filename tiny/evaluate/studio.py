"""Where clips come from, what was asked for, and what is seen and heard in them."""

import random
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

import ltx2
from ltx2.delivery.file import ToFile
from ltx2.extent import decode_tiles, encode_tiles
from ltx2.media.encode import write_mp4
from ltx2.media.video import probe, read_frames
from pipelines.geometry import Size
from pipelines.stages.decode import decode_video
from pipelines.stages.encode import encode_video
from pipelines.values import Clip
from tiny import captions, world
from tiny.captions import Captioned
from tiny.latents import FPS
from tiny.measure import scene
from tiny.measure import sound as heard
from tiny.measure.scene import Seen
from tiny.measure.sound import Wave

Frames = NDArray[np.uint8]  # (n, height, width, 3)
EARLY = 4  # a frame of the second latent, the first that a model makes beside a picture's own
LOSSLESS = 0  # of H.264: a source is to lose nothing but half of its colour's resolution


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What is kept of a clip: what was asked for, two frames, what is seen, its sound."""

    asked: Captioned
    first: NDArray[np.uint8]  # (height, width, 3)
    early: NDArray[np.uint8]  # the frame `EARLY`, or the last of a shorter clip
    seconds: float
    seen: Seen
    wave: Wave | None  # (2, samples)
    rate: int | None  # samples a second

    @classmethod
    def of(
        cls,
        asked: Captioned,
        frames: Frames,
        wave: Wave | None,
        rate: int | None,
        *,
        fps: float = FPS,
    ) -> Self:
        """What is kept of these frames and this sound."""
        return cls(
            asked=asked,
            first=frames[0].copy(),  # by itself, without the clip behind it
            early=frames[min(EARLY, len(frames) - 1)].copy(),
            seconds=len(frames) / fps,
            seen=scene.read(frames),
            wave=wave,
            rate=rate,
        )

    @property
    def aspect(self) -> float:
        """The frame's width in heights."""
        return self.first.shape[1] / self.first.shape[0]

    @property
    def pitch(self) -> float | None:
        """Hertz; None without a sound."""
        if self.wave is None or self.rate is None:
            return None
        return heard.pitch(self.wave, self.rate)


class Studio(Protocol):
    """Makes clips: a checkpoint, or something that stands for one."""

    def make(self, asked: Captioned, seed: int, **options: Any) -> Made:  # noqa: ANN401
        """The clip of a caption; `options` are further fields of `ltx2.Request`."""
        ...

    def restored(self, frames: Frames, **options: Any) -> Frames:  # noqa: ANN401
        """What becomes of a clip; `options` are the fields of `ltx2.VideoRequest` but its video."""
        ...

    def through(self, frames: Frames) -> Frames:
        """A clip encoded and decoded again."""
        ...


@dataclass(frozen=True, slots=True)
class EngineStudio:
    """A checkpoint, as a user has it."""

    engine: ltx2.Engine

    def make(self, asked: Captioned, seed: int, **options: Any) -> Made:  # noqa: ANN401
        """By `Engine.generate`, at the default size."""
        result = self.engine.generate(ltx2.Request(prompt=asked.text, seed=seed, **options))
        return Made.of(
            asked, result.frames, result.audio, result.audio_sample_rate, fps=result.plan.fps
        )

    def restored(self, frames: Frames, **options: Any) -> Frames:  # noqa: ANN401
        """By `ltx2.restore`, from file to file."""
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "source.mp4"), Path(folder, "target.mp4")
            count, height, width, _ = frames.shape
            clip = Clip(
                frames=(chunk for chunk in (frames,)),
                chunks=1,
                width=width,
                height=height,
                num_frames=count,
                fps=Fraction(FPS),
            )
            write_mp4(clip, source, crf=LOSSLESS)
            ltx2.restore(
                ltx2.VideoRequest(video=source, **options),
                engine=self.engine,
                deliver=ToFile(target),
            )
            return np.concatenate(list(read_frames(probe(target))))

    def through(self, frames: Frames) -> Frames:
        """By the engine's video VAE alone."""
        size = Size(frames.shape[2], frames.shape[1])
        latent = encode_video(
            self.engine.components,
            iter((frames,)),
            frames=len(frames),
            width=size.width,
            height=size.height,
            tiles=encode_tiles(size),
        )
        decoded = decode_video(self.engine.components, latent, decode_tiles(size), [])
        return np.concatenate(list(decoded))


def asked(
    seed: int,
    *,
    held: bool = True,
    textured: bool = False,
    motions: Collection[str] = world.MOTIONS,
) -> Captioned:
    """The caption of a seed, of one thing that is heard, with one of `motions`: a combination that
    training never had, unless `held` is False. `textured` says which texture, none of them plain,
    since only then what the camera does can be seen.
    """
    draw = random.Random(f"evaluation {seed}")
    while True:
        found = captions.draw_scene(draw, held=held, textured=textured)
        things, texture = found.scene.things, found.scene.texture
        if (
            len(things) == 1
            and things[0].motion in motions
            and not found.scene.silent
            and (not textured or texture in found.text)
        ):
            return found


def open_prompt(seed: int) -> Captioned:
    """A caption that leaves size, place and ground to the seed."""
    found = asked(seed)
    (thing,) = found.scene.things
    text = f"a {thing.colour} {thing.shape} {captions.MOTIONS[thing.motion][0]}"
    return Captioned(text=text, scene=found.scene)


def silenced(found: Captioned) -> Captioned:
    """The same, in silence."""
    text = found.text.rstrip(".") + captions.SILENCE[0]
    return Captioned(text=text, scene=replace(found.scene, silent=True))


def filmed(found: Captioned, seed: int, size: tuple[int, int], frames: int = 49) -> Frames:
    """A true clip of a caption's scene, of height and width `size`, by the seed's hand."""
    time = torch.linspace(0, 1, frames)
    clip = world.film(found.scene, world.camera(None, random.Random(seed)), time, *size)
    return (clip.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
