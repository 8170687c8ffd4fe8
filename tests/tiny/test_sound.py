"""The sound of a scene, and the spectrogram that the audio VAE sees of it."""

import random
from dataclasses import replace

import pytest
import torch

from tiny import captions, sound, world

RATE = 24000


def scene_of(motion: str, colour: str = "blue", x: float = 0.0, reach: float = 0.0) -> world.Scene:
    thing = world.Thing(
        colour=colour, shape="ring", size="small", motion=motion, x=x, y=0.0, reach=reach
    )
    return world.scene(random.Random(0), (thing,))


def heard(scene: world.Scene, camera: world.Camera | None = None) -> torch.Tensor:
    return sound.waveform(scene, camera or world.Camera(), 2.0, RATE, aspect=5 / 3)


@pytest.mark.parametrize(("colour", "hertz"), sound.PITCHES.items())
def test_the_colour_is_the_pitch(colour, hertz):
    spectrum = torch.fft.rfft(heard(scene_of("still", colour))[0]).abs()
    assert spectrum.argmax().item() / 2.0 == pytest.approx(hertz, abs=0.5)


def test_pitches_are_multiples_of_the_rate_of_mel_frames():
    assert all(hertz % 100 == 0 for hertz in sound.PITCHES.values())


def test_a_thing_that_moves_right_is_heard_on_the_right_at_last():
    left, right = heard(scene_of("right", reach=0.6)).abs()
    assert left[:4000].mean() > 2 * right[:4000].mean()
    assert right[-4000:].mean() > 2 * left[-4000:].mean()


def test_a_camera_that_goes_left_moves_the_sound_right():
    camera = world.camera("dolly_left", random.Random(0))
    left, right = heard(scene_of("still"), camera).abs()
    assert right[-4000:].mean() > left[-4000:].mean()
    assert left[:4000].mean() > right[:4000].mean()


def test_growing_swells_and_bouncing_beats():
    growing = heard(scene_of("growing")).abs()[0]
    assert growing[-6000:].mean() > 2 * growing[:6000].mean()
    beats = heard(scene_of("bouncing", reach=0.2)).abs()[0].unfold(0, 1200, 1200).mean(dim=1)
    half = len(beats) // 2
    assert beats[half - 2] < 0.5 * beats[half + 1]
    assert beats[-2] < 0.5 * beats[1]


def test_silence_is_silent_and_nothing_clips():
    scene = scene_of("still")
    assert heard(replace(scene, silent=True)).abs().max() == 0
    for seed in range(30):
        assert heard(captions.draw_scene(random.Random(seed)).scene).abs().max() < 1


def test_a_tone_is_where_its_mel_band_is():
    """A frame every 10 ms; the loudest band's middle, on Slaney's scale, is near the tone."""
    wave = sound.waveform(scene_of("still", "white"), world.Camera(), 1.0, 16000, aspect=5 / 3)
    mel = sound.log_mel(wave)
    assert mel.shape == (2, 101, 64)
    # 1200 Hz is 15 + 27 log(1.2) / log(6.4) = 17.65 mel of 45.25, in steps of 1 / 65 of these.
    assert mel[0, 50].argmax().item() == round(17.65 / 45.25 * 65) - 1
    assert sound.log_mel(torch.zeros(2, 16000)).unique().item() == pytest.approx(-11.5129, abs=1e-3)
