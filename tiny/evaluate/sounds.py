"""Measures of the sound: where it comes from, how long it lasts, and silence if asked."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.geometry import AUDIO_LATENTS_PER_SECOND
from tiny.captions import Captioned
from tiny.evaluate.measures import Measure, share
from tiny.evaluate.prompts import following
from tiny.evaluate.studio import Made, Studio, asked, silenced
from tiny.measure import sound as heard

ASIDE = ("left", "right")  # motions that are heard
BESIDE = 0.2  # of half the frame's width: how far a sound may be from its thing, on average
CROSSED = 0.4  # of half the frame's width: the way of a sound that moves
SHORT = 25  # frames of a clip that is half as long


def sounds(studio: Studio, untrained: Studio, clips: int) -> list[Measure]:
    """Every measure of the sound, of clips of things that cross the picture."""
    wanted = crossing(clips)
    few = max(2, clips // 5)
    made = [studio.make(each, seed) for seed, each in enumerate(wanted)]
    blind = [untrained.make(each, seed) for seed, each in enumerate(wanted[:few])]
    short = [studio.make(each, seed, num_frames=SHORT) for seed, each in enumerate(wanted[:few])]
    silent = [studio.make(silenced(each), seed) for seed, each in enumerate(wanted)]
    return [
        *judge_sides(made, blind),
        *judge_lengths(made, short),
        *judge_silence(silent, made),
    ]


def crossing(clips: int) -> list[Captioned]:
    """So many captions of things that cross the picture, to the left and to the right in turn."""
    return [asked(seed, motions=ASIDE[seed % 2 :][:1]) for seed in range(clips)]


def judge_sides(made: Sequence[Made], untrained: Sequence[Made]) -> list[Measure]:
    """Whether the sound is where the thing is seen, with the sound of the next clip in which it
    moves to the other side as the control; and whether it goes where the prompt says, with
    untrained weights as the control. Half of the prompts should say left, half right.
    """
    mirrored = [(each, following(made, index, "motion")) for index, each in enumerate(made)]
    return [
        Measure(
            name="sound is where the thing is seen",
            value=share([beside(each, each) <= BESIDE for each in made]),
            least=0.85,
            control=share([beside(each, other) <= BESIDE for each, other in mirrored]),
            most=0.3,
            of=len(made),
        ),
        Measure(
            name="sound goes to the side that the prompt says",
            value=share([_goes_rightly(each) for each in made]),
            least=0.9,
            control=share([_goes_rightly(each) for each in untrained]),
            most=0.5,
            of=len(made),
        ),
    ]


def _said(made: Made) -> str:
    (thing,) = made.asked.scene.things
    return thing.motion


def _goes_rightly(made: Made) -> bool:
    return goes(made) == _said(made)


def goes(made: Made) -> str | None:
    """To which side the sound goes over the clip; None where it stays about where it is."""
    side = sides(made)
    known = np.nonzero(~np.isnan(side))[0]
    if len(known) < len(side) / 2:
        return None
    way = float(np.polyfit(known / len(side), side[known], 1)[0])
    return None if abs(way) < CROSSED else "right" if way > 0 else "left"


def sides(made: Made) -> NDArray[np.floating]:
    """Where the sound comes from in each tenth of a second, -1 to 1; not a number in silence."""
    if made.wave is None or made.rate is None:
        return np.full(1, np.nan)
    return heard.side(made.wave, made.rate)


def beside(seen: Made, heard_in: Made) -> float:
    """How far the sound of one clip is from where the thing of another is seen, the mean over time
    in halves of the frame's width; infinite where either is missing half of the time.
    """
    thing, side = seen.seen.thing, sides(heard_in)
    if thing is None:
        return math.inf
    count = len(thing.x)
    known = np.nonzero(~np.isnan(thing.x))[0]
    middles = (np.arange(len(side)) + 0.5) * heard.WINDOW / seen.seconds * count - 0.5
    away = np.abs(np.interp(middles, known, thing.x[known]) / (seen.aspect / 2) - side)
    if len(known) < count / 2 or np.isnan(away).mean() > 0.5:
        return math.inf
    return float(np.nanmean(away))


def judge_lengths(made: Sequence[Made], short: Sequence[Made]) -> list[Measure]:
    """Whether a clip's sound fills it, for clips of two durations; the control is the sound of the
    other duration.
    """
    values = [fills(each, each.seconds) for each in (*made, *short)]
    wrong = [fills(each, short[0].seconds) for each in made]
    wrong += [fills(each, made[0].seconds) for each in short]
    return [
        Measure(
            name="sound is as long as the clip",
            value=share(values),
            least=0.95,
            control=share(wrong),
            most=0.05,
            of=len(values),
        )
    ]


def fills(made: Made, seconds: float) -> bool:
    """Whether a sound is so long, to one latent of it, and heard from its begin to its end."""
    if made.wave is None or made.rate is None:
        return False
    levels = heard.loudness(made.wave, made.rate)
    off = abs(heard.length(made.wave, made.rate) - seconds)
    return off <= 1 / AUDIO_LATENTS_PER_SECOND and min(levels[0], levels[-1]) > heard.SILENT


def judge_silence(silent: Sequence[Made], made: Sequence[Made]) -> list[Measure]:
    """Whether nothing is heard where silence is asked for; the control is `made`, the same prompts
    without these words.
    """
    return [
        Measure(
            name="silence when it is asked for",
            value=share([_is_silent(each) for each in silent]),
            least=0.9,
            control=share([_is_silent(each) for each in made]),
            most=0.1,
            of=len(silent),
        )
    ]


def _is_silent(made: Made) -> bool:
    """A clip without a sound track was never asked to be silent."""
    return made.wave is not None and made.rate is not None and heard.is_silent(made.wave, made.rate)
