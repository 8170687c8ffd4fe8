"""Measures of what a prompt says: seen, heard, in both modes, and by every seed in its own way."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import numpy as np

from tiny import sound
from tiny.captions import Captioned
from tiny.evaluate.measures import Measure, share
from tiny.evaluate.studio import Made, Studio, asked, open_prompt

LEAST = {"colour": 0.95, "shape": 0.80, "motion": 0.90, "pitch": 0.90}
SEEN = ("colour", "shape", "motion")
APART, LARGER = 0.06, 1.3  # heights and the ratio of areas from which scenes are not the same
SEEDS = 4  # clips of a prompt


def told(made: Made, of: Captioned) -> dict[str, bool]:
    """Whether a clip shows and sounds like the one thing of a caption."""
    (thing,) = of.scene.things
    pitch = made.pitch
    return {
        **{name: getattr(made.seen, name).name == getattr(thing, name) for name in SEEN},
        "pitch": pitch is not None and nearest_pitch(pitch) == thing.colour,
    }


def nearest_pitch(hertz: float) -> str:
    """The colour that sounds most like it, by the ratio."""
    return min(sound.PITCHES, key=lambda name: abs(np.log(sound.PITCHES[name] / hertz)))


def prompts(
    studio: Studio, untrained: Studio, clips: int, *, mode: str = "fast"
) -> tuple[list[Measure], list[Made]]:
    """`judge_prompts` of unseen combinations, and the clips."""
    made = [studio.make(asked(seed), seed, mode=mode) for seed in range(clips)]
    few = max(4, clips // 10)
    noise = [untrained.make(asked(seed), seed, mode=mode) for seed in range(few)]
    return judge_prompts(made, noise, mode=mode), made


def judge_prompts(
    made: Sequence[Made], untrained: Sequence[Made], *, mode: str = "fast"
) -> list[Measure]:
    """Colour, shape, motion and pitch; the controls are the next prompt that differs in the point
    in question, and clips of untrained weights.
    """
    right = [told(each, each.asked) for each in made]
    blind = [told(each, each.asked) for each in untrained]
    measures = []
    for name, least in LEAST.items():
        value = share([row[name] for row in right])
        others = [following(made, index, name) for index in range(len(made))]
        wrong = [told(*pair)[name] for pair in zip(made, [o.asked for o in others], strict=True)]
        measures += [
            Measure(
                name=f"{name} ({mode}), not another prompt's",
                value=value,
                least=least,
                control=share(wrong),
                most=0.2,
                of=len(made),
            ),
            Measure(
                name=f"{name} ({mode}), not of untrained weights",
                value=value,
                least=least,
                control=share([row[name] for row in blind]),
                most=0.5,
                of=len(made),
            ),
        ]
    return measures


def following(made: Sequence[Made], index: int, name: str) -> Made:
    """The next clip whose prompt says something else of `name`, which is one of `LEAST`. ValueError
    where every prompt says the same.
    """

    def said(each: Made) -> str:
        (thing,) = each.asked.scene.things
        return thing.colour if name == "pitch" else getattr(thing, name)

    for step in range(1, len(made)):
        other = made[(index + step) % len(made)]
        if said(other) != said(made[index]):
            return other
    raise ValueError(f"all prompts say the same {name}; more clips are needed")


def agreement(studio: Studio, fast: Sequence[Made]) -> list[Measure]:
    """`judge_agreement` of Fast's clips of seeds from 0 on, and Pro's."""
    pro = [studio.make(each.asked, seed, mode="pro") for seed, each in enumerate(fast)]
    return judge_agreement(fast, pro)


def judge_agreement(fast: Sequence[Made], pro: Sequence[Made]) -> list[Measure]:
    """How often Fast and Pro show the same colour, shape and motion for the same prompt and seed,
    and how often the thing is where it is in both; the controls are the next prompt's clips.
    """
    pairs = list(zip(fast, pro, strict=True))
    others = list(zip(fast, [*pro[1:], pro[0]], strict=True))

    def measure(name: str, least: float, most: float, same: Callable[..., bool]) -> Measure:
        return Measure(
            name=f"Fast and Pro {name}",
            value=share([same(*pair) for pair in pairs]),
            least=least,
            control=share([same(*pair) for pair in others]),
            most=most,
            of=len(fast),
        )

    return [
        measure("show the same", 0.75, 0.25, alike),
        measure("show it in the same place", 0.7, 0.4, lambda one, other: apart(one, other) < 0.15),
    ]


def alike(one: Made, other: Made) -> bool:
    """Whether both show the same thing, which does the same."""
    names = [tuple(getattr(made.seen, name).name for name in SEEN) for made in (one, other)]
    return names[0] == names[1] and None not in names[0]


def apart(one: Made, other: Made) -> float:
    """How far the things' mean places are from each other in two clips, in heights; infinite where
    one shows none.
    """
    if one.seen.thing is None or other.seen.thing is None:
        return math.inf
    x, y = (
        float(np.nanmean(getattr(one.seen.thing, axis)))
        - float(np.nanmean(getattr(other.seen.thing, axis)))
        for axis in ("x", "y")
    )
    return math.hypot(x, y)


def seeds(studio: Studio, clips: int) -> list[Measure]:
    """`judge_seeds` of clips of a few prompts that leave much open."""
    groups = max(2, clips // SEEDS)
    made = [[studio.make(open_prompt(g), seed) for seed in range(SEEDS)] for g in range(groups)]
    again = [studio.make(open_prompt(g), 0) for g in range(groups)]
    return judge_seeds(made, again)


def judge_seeds(made: Sequence[Sequence[Made]], again: Sequence[Made]) -> list[Measure]:
    """How often two seeds of a prompt differ in place, size or ground, with clips of the first seed
    made `again` as the control; and how often every seed keeps to the prompt, with the next
    prompt as the control.
    """
    pairs = [pair for group in made for pair in combinations(group, 2)]
    firsts = [(group[0], same) for group, same in zip(made, again, strict=True)]
    every = [each for group in made for each in group]
    wrong = [
        all(told(each, other[0].asked)[name] for name in SEEN)
        for group, other in pairwise([*made, made[0]])
        for each in group
    ]
    return [
        Measure(
            name="seeds differ in place, size or ground",
            value=share([differ(*pair) for pair in pairs]),
            least=0.8,
            control=share([differ(*pair) for pair in firsts]),
            most=0.01,
            of=len(every),
        ),
        Measure(
            name="seeds keep colour, shape and motion",
            value=share([all(told(each, each.asked)[name] for name in SEEN) for each in every]),
            least=0.65,
            control=share(wrong),
            most=0.1,
            of=len(every),
        ),
    ]


def differ(one: Made, other: Made) -> bool:
    """Whether the things of two clips are seen in other places, larger, or on another ground."""
    if one.seen.thing is None or other.seen.thing is None:
        return False
    areas = [float(np.nanmean(made.seen.thing.area)) for made in (one, other) if made.seen.thing]
    grounds = {one.seen.ground.name, other.seen.ground.name} - {None}
    return apart(one, other) > APART or max(areas) / min(areas) > LARGER or len(grounds) == 2
