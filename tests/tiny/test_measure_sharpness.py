"""Likeness, sharpness and shift: each grows with what it measures, and with nothing else."""

import math

import numpy as np
import pytest

from tiny.measure import sharpness
from tiny.measure.accuracy import film
from tiny.measure.wear import blurred, noisy


@pytest.fixture(scope="module")
def frames():
    return film(
        1, move="static", motion="still", shape="square", texture="checked", frames=9
    ).frames


def test_likeness_is_in_decibels(frames):
    assert sharpness.psnr(frames, frames) == math.inf
    darker = np.full((4, 4, 3), 100, np.uint8)
    assert sharpness.psnr(darker, darker + 10) == pytest.approx(28.13, abs=0.01)
    assert sharpness.psnr(frames, noisy(frames, np.random.default_rng(1))) == pytest.approx(
        25, abs=1
    )
    assert sharpness.psnr(frames, frames[:, :, ::-1]) < 20
    with pytest.raises(ValueError, match="one shape"):
        sharpness.psnr(frames, frames[:3])


def test_blur_lowers_sharpness_and_contrast_does_not(frames):
    sharp, soft = sharpness.sharpness(frames), sharpness.sharpness(blurred(frames))
    assert soft < 0.7 * sharp
    assert sharpness.sharpness(blurred(blurred(frames))) < 0.85 * soft
    pale = (frames * 0.7 + 40).astype(np.uint8)
    assert sharpness.sharpness(pale) == pytest.approx(sharp, rel=0.05)


def test_steepness_tells_wide_edges_apart_whatever_their_contrast(frames):
    once = blurred(blurred(frames))
    steep = [sharpness.steepness(each) for each in (frames, once, blurred(blurred(once)))]
    assert steep[0] > 1.5 * steep[1] > 1.5 * 1.2 * steep[2]
    pale = (frames * 0.7 + 40).astype(np.uint8)
    assert sharpness.steepness(pale) == pytest.approx(steep[0], rel=0.05)
    assert sharpness.steepness(np.full_like(frames, 90)) == 0


def test_a_frame_without_an_edge_has_no_sharpness(frames):
    assert sharpness.sharpness(np.full_like(frames, 90)) is None


def test_the_shift_of_content_is_in_heights(frames):
    moved = np.roll(frames, (2, -3), (1, 2))  # down and to the left
    assert sharpness.shift(frames, moved) == pytest.approx((-3 / 96, 2 / 96), abs=0.003)
    assert sharpness.shift(frames, frames) == pytest.approx((0, 0), abs=1e-4)


def test_blur_and_noise_shift_nothing(frames):
    worn = noisy(blurred(frames), np.random.default_rng(2))
    assert sharpness.shift(frames, worn) == pytest.approx((0, 0), abs=0.002)


def test_clips_of_two_sizes_have_no_shift(frames):
    with pytest.raises(ValueError, match="one shape"):
        sharpness.shift(frames, frames[:, :64])
