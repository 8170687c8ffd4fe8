"""Grids of pixels, frames and latents, checked over every value that a request can hold."""

import pytest

from pipelines.geometry import (
    audio_latents,
    conditioning_fps,
    frames_for,
    latent_frames,
    pixel_frames,
    snap_down,
    snap_frames,
    snap_near,
    video_tokens,
)

RATES = (24, 25, 30, 48, 50, 60)


@pytest.mark.parametrize("grid", [32, 64])
def test_an_edge_snaps_down_to_the_nearest_multiple_below(grid):
    for pixels in range(grid, 4097):
        used = snap_down(pixels, grid)
        assert used % grid == 0
        assert 0 <= pixels - used < grid


@pytest.mark.parametrize("grid", [32, 64])
def test_a_computed_edge_snaps_to_the_nearest_multiple(grid):
    for tenth in range(grid * 10, 20_000):
        used = snap_near(tenth / 10, grid)
        assert used % grid == 0
        assert abs(tenth / 10 - used) <= grid / 2


def test_an_edge_below_the_grid_becomes_one_cell():
    assert snap_down(1, 64) == snap_near(1, 64) == 64


def test_frames_snap_down_to_8k_plus_1():
    for frames in range(1, 1202):
        used = snap_frames(frames)
        assert used % 8 == 1
        assert 0 <= frames - used < 8


@pytest.mark.parametrize("seconds", range(1, 21))
def test_at_24_fps_every_whole_second_is_24_s_plus_1_frames(seconds):
    assert frames_for(seconds, 24) == 24 * seconds + 1


@pytest.mark.parametrize("fps", RATES)
def test_frames_for_a_duration_never_show_more_than_was_asked_after_the_first_frame(fps):
    for hundredth in range(1, 2001):
        seconds = hundredth / 100
        frames = frames_for(seconds, fps)
        assert frames % 8 == 1
        assert (frames - 1) / fps <= seconds + 1e-6
        assert seconds - (frames - 1) / fps < 8 / fps


def test_a_duration_that_floats_just_miss_still_counts_as_whole():
    assert frames_for(0.1 + 0.2 + 0.7, 24) == 25
    assert frames_for(4.999999999999, 24) == 121


def test_latent_frames_and_pixel_frames_are_inverse_on_the_grid():
    for frames in range(1, 1202, 8):
        assert pixel_frames(latent_frames(frames)) == frames


@pytest.mark.parametrize(
    ("size", "five_seconds", "ten_seconds"),
    [
        ((512, 288), 2304, 4464),
        ((1024, 576), 9216, 17856),
        ((640, 352), 3520, 6820),
        ((1280, 704), 14080, 27280),
        ((960, 544), 8160, 15810),
        ((1920, 1088), 32640, 63240),
    ],
)
def test_token_counts_of_the_named_sizes_are_the_published_ones(size, five_seconds, ten_seconds):
    assert video_tokens(*size, 121) == five_seconds
    assert video_tokens(*size, 241) == ten_seconds


def test_sound_runs_as_long_as_the_clip_plays():
    assert audio_latents(121 / 24) == 126
    assert audio_latents(241 / 24) == 251
    for fps in RATES:
        for frames in range(9, 20 * fps + 2, 8):
            assert abs(audio_latents(frames / fps) / 25 - frames / fps) <= 0.5 / 25 + 1e-9


@pytest.mark.parametrize("fps", RATES)
def test_a_single_frame_still_has_one_audio_latent(fps):
    assert audio_latents(1 / fps) == 1


def test_the_model_is_told_a_rate_that_it_knows():
    told = [conditioning_fps(fps) for fps in RATES]
    assert told == [24.0, 25.0, 30.0, 60.0, 60.0, 60.0]
