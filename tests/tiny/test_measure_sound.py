"""Recognisers of sound: the world's own sounds are heard rightly, others are not taken for them."""

import random

import numpy as np
import pytest

from tiny import sound as made
from tiny import world
from tiny.measure import sound

RATE = 24_000


def heard(*, colour="green", motion="still", x=0.0, silent=False, seconds=2.0):
    """The sound of one small thing, filmed by a static camera."""
    reach = 0.6 if motion in ("left", "right") else 0.3
    thing = world.Thing(
        colour=colour, shape="circle", size="small", motion=motion, x=x, y=0.0, reach=reach
    )
    scene = world.scene(random.Random(0), (thing,), silent=silent)
    return made.waveform(scene, world.Camera(), seconds, RATE, aspect=5 / 3).numpy()


@pytest.mark.parametrize("colour", world.COLOURS)
def test_the_pitch_tells_the_colour(colour):
    rng = np.random.default_rng(0)
    for motion in ("still", "bouncing", "growing"):
        wave = heard(colour=colour, motion=motion)
        noisy = wave + rng.normal(0, 0.03, wave.shape)
        for each in (wave, noisy):
            assert sound.pitch(each, RATE) == pytest.approx(made.PITCHES[colour], abs=2)
    assert sound.tonality(wave, RATE, made.PITCHES[colour]) > 0.95


def test_another_tone_and_noise_are_not_the_tone():
    wave = heard(colour="red")
    noise = np.random.default_rng(1).normal(0, 0.2, wave.shape)
    assert sound.tonality(wave, RATE, made.PITCHES["yellow"]) < 0.05
    assert sound.tonality(noise, RATE, made.PITCHES["red"]) < 0.1


@pytest.mark.parametrize("motion", ["left", "right"])
def test_the_side_follows_the_thing(motion):
    side = sound.side(heard(motion=motion), RATE)
    way = 1 if motion == "right" else -1
    at = (np.arange(len(side)) + 0.5) / len(side)
    assert side == pytest.approx(way * 0.6 * (2 * at - 1) / (5 / 6), abs=0.02)


def test_the_sides_of_exchanged_channels_are_exchanged():
    wave = heard(x=0.5)
    assert sound.side(wave, RATE).mean() == pytest.approx(0.6, abs=0.01)
    assert sound.side(wave[::-1], RATE).mean() == pytest.approx(-0.6, abs=0.01)


def test_loudness_swells_with_a_thing_that_grows_and_not_with_its_side():
    growing = sound.loudness(heard(motion="growing"), RATE)
    assert growing[-2] > 3 * growing[1]
    moving = sound.loudness(heard(motion="right"), RATE)[1:-1]
    assert moving.std() < 0.01 * moving.mean()


def test_silence_has_no_pitch_and_no_side():
    wave = heard(silent=True)
    assert sound.is_silent(wave, RATE)
    assert sound.pitch(wave, RATE) is None
    assert np.isnan(sound.side(wave, RATE)).all()
    faint = np.random.default_rng(2).normal(0, 0.002, wave.shape)
    assert sound.is_silent(faint, RATE)
    assert not sound.is_silent(heard(motion="bouncing"), RATE)


def test_the_length_is_in_seconds():
    assert sound.length(heard(seconds=2.04), RATE) == pytest.approx(2.04, abs=1 / RATE)


def test_what_is_no_sound_is_refused():
    with pytest.raises(ValueError, match=r"\(2, samples\), not \(24000,\)"):
        sound.pitch(np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="finite"):
        sound.loudness(np.full((2, RATE), np.nan), RATE)
