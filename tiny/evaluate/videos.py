"""Measures of what is done to existing videos: the detailer, twice the size, twice the frames.

The truth is known: the world, filmed sharp, large or at twice the frame rate. What no upscaler is
to blame for, the loss in the VAE, is on both sides of each comparison.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tiny.evaluate.measures import Measure, share
from tiny.evaluate.studio import Frames, Studio, asked, filmed
from tiny.latents import LARGE, SMALL
from tiny.measure import sharpness, things
from tiny.measure.picture import blur, views

# How many times smaller a clip once was that is to be sharpened. The video VAE alone makes edges
# about as soft as half and a quarter of the size do, so that these would show nothing.
SOFTENED = 16
OFF = 1e-6  # strength of a LoRA that is as good as off
MOVED = 0.01  # heights; what is farther off has moved
RADIUS = 6  # pixels, of the unsharp mask: about as wide as what softening did to an edge
AMOUNTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of what it adds
FRAMES = 49
MOVING = 0.1  # of the brightest, the difference of two frames where something moves


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpened:
    """A soft clip after the detailer."""

    regained: float  # of the steepness: 0 as in the soft clip, 1 as in the sharp one
    moved: float  # heights
    gained: float  # decibels by which it is more like the sharp clip than the soft one is
    masked: float  # the same of the soft clip under an unsharp mask that is as steep
    like: float  # decibels, to the soft clip

    @property
    def in_place(self) -> bool:
        """Whether nothing in it moved."""
        return self.moved <= MOVED


def detailer(studio: Studio, clips: int) -> list[Measure]:
    """`judge_detailer` of softened clips of the world."""
    true = [filmed(asked(seed), seed, LARGE) for seed in range(clips)]
    beside = [_around(studio, sharp) for sharp in true]
    made, off, others = [], [], []
    for seed, known in enumerate(beside):
        given = known[-1]
        detailed = studio.restored(given, task="detail", seed=seed)
        plain = studio.restored(given, task="detail", seed=seed, strength=OFF)
        made.append(compared(detailed, *known))
        off.append(compared(plain, *known))
        others.append(compared(detailed, *beside[(seed + 1) % clips]))
    return judge_detailer(made, off, others)


def _around(studio: Studio, sharp: Frames) -> tuple[Frames, Frames, Frames, Frames]:
    """A sharp clip, it and the soft one through the VAE, and the soft one."""
    given = soft(sharp, SOFTENED)
    return sharp, studio.through(sharp), studio.through(given), given


def compared(made: Frames, sharp: Frames, best: Frames, plain: Frames, given: Frames) -> Sharpened:
    """A detailed clip beside the sharp one, the sharp and the soft one through the VAE, and the
    soft one, all of one shape.
    """
    steep, most, least = (sharpness.steepness(each) for each in (made, best, plain))
    at = views(len(plain), sharpness.VIEWS)  # of which the steepness is, too
    masked = as_steep(plain[at], steep)
    return Sharpened(
        regained=(steep - least) / max(most - least, 1e-6),
        moved=float(np.hypot(*sharpness.shift(best, made))),
        gained=sharpness.psnr(made, sharp) - sharpness.psnr(plain, sharp),
        masked=sharpness.psnr(masked, sharp[at]) - sharpness.psnr(plain[at], sharp[at]),
        like=sharpness.psnr(made, given),
    )


def judge_detailer(
    made: Sequence[Sharpened], off: Sequence[Sharpened], others: Sequence[Sharpened]
) -> list[Measure]:
    """How much of their edges' steepness clips get back, with the same pass without the LoRA as the
    control; how much nearer they come to the sharp clip, with the better of that pass and an
    unsharp mask as the control; how often nothing moved, and how like the given clip they are in
    decibels, with the clips compared with another one, `others`, as the control.
    """

    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    gained = mean(each.gained for each in made)
    return [
        Measure(
            name="detailer gives edges back (share of their steepness)",
            value=mean(min(1.0, each.regained) for each in made),
            least=0.65,
            control=mean(min(1.0, each.regained) for each in off),
            most=0.55,
            of=len(made),
        ),
        Measure(
            name="detailer comes nearer to the sharp clip (dB)",
            value=gained,
            least=0.0,
            control=max(mean(each.masked for each in made), mean(each.gained for each in off)),
            most=gained,
            of=len(made),
        ),
        Measure(
            name="detailer moves nothing",
            value=share([each.in_place for each in made]),
            least=0.9,
            control=share([each.in_place for each in others]),
            most=0.2,
            of=len(made),
        ),
        Measure(
            name="detailer follows its clip (dB)",
            value=mean(each.like for each in made),
            least=24.0,
            control=mean(each.like for each in others),
            most=20.0,
            of=len(made),
        ),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Enlarged:
    """Likenesses to the truth in decibels, of what was upscaled and of plain ways."""

    made: float
    plain: dict[str, float]


def spatial(studio: Studio, clips: int) -> list[Measure]:
    """`judge_spatial` of clips of the world, filmed small and large."""
    rows = []
    for seed in range(clips):
        small, large = (filmed(asked(seed), seed, size) for size in (SMALL, LARGE))
        made = studio.restored(small, task="upscale", refine=False, seed=seed)
        plain = {"bicubic": sharpness.psnr(larger(studio.through(small), 2), large)}
        rows.append(Enlarged(made=sharpness.psnr(made, large), plain=plain))
    return judge_spatial(rows)


def judge_spatial(rows: Sequence[Enlarged]) -> list[Measure]:
    """The likeness of enlarged clips to those that were filmed large; the control is bicubic
    enlargement of the clip that the VAE gives back, and must be less like them.
    """
    return [_beats("spatial upscaler beats", rows, "bicubic", least=24.0, by=0.5)]


def temporal(studio: Studio, clips: int) -> list[Measure]:
    """`judge_temporal` of clips of bouncing things, which are the fastest."""
    rows, steps = [], []
    for seed in range(clips):
        found = asked(seed, motions=("bouncing",))
        fast = filmed(found, seed, SMALL, frames=2 * FRAMES - 1)
        slow = fast[::2]
        made = studio.restored(
            slow, task="upscale", spatial=1.0, temporal=True, refine=False, seed=seed
        )[: len(fast)]
        given = studio.through(slow)
        ways = {"repeated frames": repeated(given), "blended frames": blended(given)}
        plain = {name: between(each, fast) for name, each in ways.items()}
        rows.append(Enlarged(made=between(made, fast), plain=plain))
        colour = found.scene.things[0].colour
        steps.append(tuple(step(each, fast, colour) for each in (made, ways["repeated frames"])))
    return judge_temporal(rows, steps)


def judge_temporal(rows: Sequence[Enlarged], steps: Sequence[tuple[float, float]]) -> list[Measure]:
    """The likeness of new frames to those that were filmed, where something moves; the controls
    are frames repeated, and neighbours blended. And how far the thing goes from an old frame to the
    new one, of the true way, with repeated frames as the control.
    """
    made, control = np.mean(np.array(steps), axis=0)
    return [
        _beats("temporal upscaler beats", rows, "repeated frames", least=10.0, by=0.3),
        _beats("temporal upscaler beats", rows, "blended frames", least=10.0, by=0.0),
        Measure(
            name="things move in new frames (share of their way)",
            value=float(made),
            least=0.5,
            control=float(control),
            most=0.2,
            of=len(steps),
        ),
    ]


def _beats(name: str, rows: Sequence[Enlarged], way: str, *, least: float, by: float) -> Measure:
    """That the mean likeness is above that of a plain way."""
    made = float(np.mean([row.made for row in rows]))
    return Measure(
        name=f"{name} {way} (dB)",
        value=made,
        least=least,
        control=float(np.mean([row.plain[way] for row in rows])),
        most=made - by,
        of=len(rows),
    )


def between(made: Frames, truth: Frames) -> float:
    """How like the truth every other frame is, in decibels, of the pixels that change from the
    frame before it to the one after. ValueError where nothing moves.
    """
    old = truth[::2].astype(np.float32)
    moving = np.abs(np.diff(old, axis=0)).max(-1) > MOVING * 255
    if not moving.any():
        raise ValueError("nothing moves in this clip")
    new = (each[1::2].astype(np.float32) for each in (made, truth))
    error = float(((next(new) - next(new))[moving] ** 2).mean())
    return min(99.0, float(10 * np.log10(255**2 / max(error, 1e-9))))


def step(made: Frames, truth: Frames, colour: str) -> float:
    """How far the thing of a colour goes from each old frame to the new one after it, along its
    true way: 1 as far as in the truth, 0 not at all, which is also said where none is seen.
    """
    ways = []
    for frames in (made, truth):
        thing = things.track(things.labels(frames), colour)
        if thing is None:
            return 0.0
        ways.append(np.stack((np.diff(thing.x)[::2], np.diff(thing.y)[::2])))
    known = np.isfinite(ways).all((0, 1))
    went, true = ways[0][:, known], ways[1][:, known]
    return float((went * true).sum() / max((true**2).sum(), 1e-9))


def repeated(frames: Frames) -> Frames:
    """Every frame twice, the last once."""
    return np.repeat(frames, 2, axis=0)[:-1]


def blended(frames: Frames) -> Frames:
    """With the mean of each two neighbours between them."""
    made = repeated(frames)
    made[1::2] = ((frames[:-1].astype(np.uint16) + frames[1:] + 1) // 2).astype(np.uint8)
    return made


def soft(frames: Frames, times: int) -> Frames:
    """A clip that was so many times smaller, and is enlarged again."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    small = F.avg_pool2d(pixels, times).permute(0, 2, 3, 1)
    return larger(small.numpy(), times)


def as_steep(frames: Frames, steep: float) -> Frames:
    """A clip under the weakest unsharp mask that makes its slopes so steep, or the strongest."""
    given = frames.astype(np.float32)
    taken = given - np.stack([blur(given[..., k], RADIUS) for k in range(3)], axis=-1)
    masked = frames
    for amount in AMOUNTS:
        masked = (given + amount * taken).clip(0, 255).round().astype(np.uint8)
        if sharpness.steepness(masked) >= steep:
            break
    return masked


def larger(frames: NDArray[np.generic], times: int) -> Frames:
    """(n, h, w, 3) of bytes' values to so many times the height and width, bicubic."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    made = F.interpolate(pixels, scale_factor=times, mode="bicubic").clamp(0, 255).round()
    return made.permute(0, 2, 3, 1).to(torch.uint8).numpy()
