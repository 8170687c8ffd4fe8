"""What the embedded checkpoint can do: `python -m tiny.evaluate`.

Clips are made by the engine as a user makes them and read by the recognisers of `tiny.measure`.
Every measure stands beside a control that must fail: another prompt's words, weights that were
never trained, the LoRA left off, no picture given.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import ltx2
from ltx2.results import Result
from tiny import captions, sound, world
from tiny.captions import Captioned
from tiny.export import export_untrained
from tiny.measure import scene, sharpness
from tiny.measure import sound as heard
from tiny.measure.scene import Seen

CLIPS, SHOTS = 200, 50  # of prompts, and of each camera
FPS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number that must be at least `least`, and what the control got, which must be less than
    `most`.
    """

    name: str
    value: float
    least: float
    control: float
    most: float
    of: int  # clips

    @property
    def holds(self) -> bool:
        return self.value >= self.least and self.control < self.most


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A clip, what was asked for, and what is seen in it."""

    asked: Captioned
    result: Result
    seen: Seen


Engine = ltx2.Engine


def make(engine: Engine, asked: Captioned, seed: int, **options: Any) -> Made:  # noqa: ANN401
    """The clip of a caption at the default size."""
    result = engine.generate(ltx2.Request(prompt=asked.text, seed=seed, **options))
    return Made(asked=asked, result=result, seen=scene.read(result.frames))


def asked(seed: int, *, held: bool = True, textured: bool = False) -> Captioned:
    """The caption of a seed, of one thing: a combination that training never had, unless `held`
    is False.
    """
    draw = random.Random(f"evaluation {seed}")
    while True:
        found = captions.draw_scene(draw, held=held, textured=textured)
        if len(found.scene.things) == 1 and not found.scene.silent:
            return found


def told(made: Made, of: Captioned) -> dict[str, bool]:
    """Whether a clip shows and sounds like the one thing of a caption."""
    (thing,) = of.scene.things
    wave = made.result.audio
    rate = made.result.audio_sample_rate
    pitch = None if wave is None or rate is None else heard.pitch(wave, rate)
    return {
        "colour": made.seen.colour.name == thing.colour,
        "shape": made.seen.shape.name == thing.shape,
        "motion": made.seen.motion.name == thing.motion,
        "pitch": pitch is not None and nearest_pitch(pitch) == thing.colour,
    }


def nearest_pitch(hertz: float) -> str:
    """The colour that sounds most like it, by the ratio."""
    return min(sound.PITCHES, key=lambda name: abs(np.log(sound.PITCHES[name] / hertz)))


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


LEAST = {"colour": 0.95, "shape": 0.80, "motion": 0.90, "pitch": 0.90}


def prompts(engine: Engine, untrained: Engine, clips: int, *, mode: str = "fast") -> list[Measure]:
    """Colour, shape, motion and pitch of unseen combinations; the controls are the next prompt
    that differs in the point in question, and the untrained model.
    """
    made = [make(engine, asked(seed), seed, mode=mode) for seed in range(clips)]
    right = [told(each, each.asked) for each in made]
    wrong: dict[str, list[bool]] = {name: [] for name in LEAST}
    for index, each in enumerate(made):
        for name in LEAST:
            other = _other(made, index, name)
            if other is not None:
                wrong[name].append(told(each, other)[name])
    few = max(4, clips // 10)
    noise = [make(untrained, asked(seed), seed, mode=mode) for seed in range(few)]
    blind = [told(each, each.asked) for each in noise]
    measures = []
    for name, least in LEAST.items():
        value = share([row[name] for row in right])
        measures += [
            Measure(
                name=f"{name} ({mode}), not another prompt's",
                value=value,
                least=least,
                control=share(wrong[name]),
                most=0.2,
                of=clips,
            ),
            Measure(
                name=f"{name} ({mode}), not of untrained weights",
                value=value,
                least=least,
                control=share([row[name] for row in blind]),
                most=0.6,
                of=few,
            ),
        ]
    return measures


def _other(made: Sequence[Made], index: int, name: str) -> Captioned | None:
    """The next caption that says something else of `name`."""

    def said(each: Made) -> str:
        (thing,) = each.asked.scene.things
        return thing.colour if name == "pitch" else getattr(thing, name)

    for step in range(1, len(made)):
        other = made[(index + step) % len(made)]
        if said(other) != said(made[index]):
            return other.asked
    return None


def cameras(engine: Engine, shots: int) -> list[Measure]:
    """Each camera LoRA's move, read from the ground; the control is the same clip without it."""
    plain = [make(engine, asked(seed, held=False, textured=True), seed) for seed in range(shots)]
    measures = []
    for move in world.CAMERAS:
        filmed = [
            make(engine, asked(seed, held=False, textured=True), seed, camera_motion=move)
            for seed in range(shots)
        ]
        measures.append(
            Measure(
                name=f"camera {move}",
                value=share([each.seen.camera.name == move for each in filmed]),
                least=0.95 if move == "static" else 0.90,
                control=share([each.seen.camera.name == move for each in plain]),
                most=0.5 if move == "static" else 0.2,
                of=shots,
            )
        )
    return measures


def pictures(engine: Engine, clips: int) -> list[Measure]:
    """How like the given picture the first frame is, in decibels; the control is no picture."""
    got, without = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(clips):
            found = asked(seed)
            frames = world.film(
                found.scene,
                world.camera(None, random.Random(seed)),
                torch.zeros(1),
                192,
                320,
            )
            picture = (frames[:, 0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            path = Path(folder) / f"{seed}.png"
            Image.fromarray(picture).save(path)
            made = make(engine, found, seed, image=str(path))
            got.append(sharpness.psnr(made.result.frames[0], picture))
            plain = make(engine, found, seed)
            without.append(sharpness.psnr(plain.result.frames[0], picture))
    return [
        Measure(
            name="first frame of a picture (dB)",
            value=float(np.mean(got)),
            least=25.0,
            control=float(np.mean(without)),
            most=20.0,
            of=clips,
        )
    ]


def _halved(frames: np.ndarray) -> np.ndarray:
    """(n, h, w, 3) to half the height and width, by the mean of four."""
    return (
        frames.reshape(len(frames), frames.shape[1] // 2, 2, frames.shape[2] // 2, 2, 3)
        .mean(axis=(2, 4))
        .round()
        .astype(np.uint8)
    )


def _bicubic(frames: np.ndarray) -> np.ndarray:
    """(n, h, w, 3) to twice the height and width."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    larger = F.interpolate(pixels, scale_factor=2, mode="bicubic").clamp(0, 255).round()
    return larger.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def agreement(engine: Engine, clips: int) -> list[Measure]:
    """Share of prompts whose colour, shape and motion Fast and Pro both show."""
    fast = [make(engine, asked(seed), seed) for seed in range(clips)]
    pro = [make(engine, asked(seed), seed, mode="pro") for seed in range(clips)]

    def same(one: Made, other: Made) -> bool:
        return (one.seen.colour.name, one.seen.shape.name, one.seen.motion.name) == (
            other.seen.colour.name,
            other.seen.shape.name,
            other.seen.motion.name,
        )

    return [
        Measure(
            name="Fast and Pro show the same",
            value=share([same(one, other) for one, other in zip(fast, pro, strict=True)]),
            least=0.75,
            control=share([same(one, other) for one, other in pairwise([*fast, fast[0]])]),
            most=0.25,
            of=clips,
        )
    ]


ALL: dict[str, Callable[[Engine, Engine, int, int], list[Measure]]] = {
    "prompts": lambda engine, untrained, clips, _: prompts(engine, untrained, clips),
    "pro": lambda engine, untrained, clips, _: prompts(engine, untrained, clips // 4, mode="pro"),
    "cameras": lambda engine, _, __, shots: cameras(engine, shots),
    "pictures": lambda engine, _, clips, __: pictures(engine, clips // 4),
    "agreement": lambda engine, _, clips, __: agreement(engine, clips // 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--checkpoint", default="tiny", help="a folder of the same layout")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--shots", type=int, default=SHOTS, help="clips of each camera")
    parser.add_argument("--only", choices=list(ALL), action="append")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        untrained = Path(folder) / "untrained"
        export_untrained(untrained)
        engines = Engine.load(given.checkpoint), Engine.load(str(untrained))
        measures: list[Measure] = []
        for name in given.only or ALL:
            for measure in ALL[name](*engines, given.clips, given.shots):
                measures.append(measure)
                sys.stdout.write(line(measure) + "\n")
                sys.stdout.flush()
    if given.json:
        rows = [{**asdict(measure), "holds": measure.holds} for measure in measures]
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(not all(measure.holds for measure in measures))


def line(measure: Measure) -> str:
    """A measure as a line of the report."""
    return (
        f"{'ok  ' if measure.holds else 'FAIL'} {measure.name}: {measure.value:.3g} "
        f"(at least {measure.least:g}); control {measure.control:.3g} "
        f"(below {measure.most:g}); {measure.of} clips"
    )


if __name__ == "__main__":
    main()
