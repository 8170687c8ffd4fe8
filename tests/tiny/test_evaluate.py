"""Measures of the checkpoint: true clips of the world reach each, and every flaw breaks its own."""

import argparse
import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.tiny.world_studio import WorldStudio, flawed
from tiny import world
from tiny.evaluate import prompts, sounds, steering, videos
from tiny.evaluate.__main__ import GROUPS, number, part
from tiny.evaluate.measures import Measure, line, share
from tiny.evaluate.studio import asked, filmed, open_prompt, silenced

PERFECT = WorldStudio()
# What a checkpoint is bad at, and the measures that must notice.
FLAWS = {
    "camera_motion": lambda studio: steering.cameras(studio, 1),
    "image": lambda studio: steering.pictures(studio, 2),
    "onward": lambda studio: steering.pictures(studio, 2),
    "side": lambda studio: sounds.judge_sides(crossing(studio), crossing(flawed("side"))),
    "length": lambda studio: sounds.judge_lengths(crossing(studio), half(studio)),
    "silence": lambda studio: sounds.judge_silence(silent(studio), crossing(PERFECT)),
}


@cache
def crossing(studio):
    """Clips of a thing that moves left, and of one that moves right."""
    return [studio.make(each, seed) for seed, each in enumerate(sounds.crossing(2))]


def half(studio):
    """The same, half as long."""
    wanted = sounds.crossing(2)
    return [studio.make(each, seed, num_frames=25) for seed, each in enumerate(wanted)]


def silent(studio):
    """The same, in silence."""
    wanted = sounds.crossing(2)
    return [studio.make(silenced(each), seed) for seed, each in enumerate(wanted)]


def failing(measures):
    return [measure.name for measure in measures if not measure.holds]


@pytest.fixture(scope="module")
def clips():
    """Six true clips, and those of a studio that ignores the prompt."""
    wanted = [asked(seed) for seed in range(6)]
    return [
        [studio.make(each, seed) for seed, each in enumerate(wanted)]
        for studio in (PERFECT, flawed("prompt"))
    ]


@pytest.mark.parametrize("flaw", FLAWS)
def test_true_clips_reach_a_measure_and_its_flaw_is_noticed(flaw):
    measures = FLAWS[flaw](PERFECT)
    assert failing(measures) == [], [line(each) for each in measures]
    assert failing(FLAWS[flaw](flawed(flaw)))


def test_a_camera_that_never_moves_is_not_static_by_its_lora():
    still = {move: ["static"] * 4 for move in world.CAMERAS}
    right = {move: [move] * 4 for move in world.CAMERAS}
    assert failing(steering.judge_cameras(right, [None] * 4)) == []
    assert failing(steering.judge_cameras(right, [None, None, "static", "static"])) == [
        "camera static (fast)"
    ]
    assert failing(steering.judge_cameras(still, [None] * 4)) == [
        *(f"camera {move} (fast)" for move in world.CAMERAS if move != "static"),
        "camera static, not another LoRA's (fast)",
    ]


def test_pro_has_to_move_the_camera_more_often_than_fast():
    read = {move: [move] * 17 + [None] * 3 for move in world.CAMERAS}
    assert failing(steering.judge_cameras(read, [None])) == []
    assert len(failing(steering.judge_cameras(read, [None], mode="pro"))) == len(world.CAMERAS) + 1


def test_true_clips_show_what_prompts_say(clips):
    true, deaf = clips
    assert failing(prompts.judge_prompts(true, deaf)) == []


def test_a_model_that_ignores_the_prompt_fails_in_every_point(clips):
    _, deaf = clips
    wrong = failing(prompts.judge_prompts(deaf, deaf))
    assert {name.partition(" ")[0] for name in wrong} == set(prompts.LEAST)


def test_a_control_that_is_right_fails_its_measure(clips):
    true, _ = clips
    wrong = failing(prompts.judge_prompts(true, true))
    assert wrong == [f"{name} (fast), not of untrained weights" for name in prompts.LEAST]


def test_fast_and_pro_agree_where_they_show_the_same(clips):
    true, deaf = clips
    assert failing(prompts.judge_agreement(true, true)) == []
    assert failing(prompts.judge_agreement(true, deaf)) == [
        "Fast and Pro show the same",
        "Fast and Pro show it in the same place",
    ]


def test_prompts_that_all_say_the_same_have_no_control(clips):
    with pytest.raises(ValueError, match="the same colour; more clips are needed"):
        prompts.judge_prompts(clips[0][:1], clips[0][:1])
    with pytest.raises(ValueError, match="the same motion; more clips are needed"):
        sounds.judge_sides(clips[0][:1], clips[0][:1])


def test_two_clips_that_show_nothing_do_not_agree(clips):
    noise = np.random.default_rng(1).integers(0, 256, (9, 96, 160, 3), np.uint8)
    nothing = prompts.Made.of(asked(1), noise, None, None)
    assert not prompts.alike(nothing, nothing)
    assert prompts.apart(nothing, nothing) == np.inf
    assert not prompts.differ(nothing, clips[0][0])
    assert not any(prompts.told(nothing, nothing.asked).values())


@pytest.mark.parametrize(
    ("flaw", "wrong"),
    [
        (None, []),
        ("seed", ["seeds differ in place, size or ground"]),
        ("prompt", ["seeds keep colour, shape and motion"]),
    ],
)
def test_seeds_vary_the_scene_within_the_prompt(flaw, wrong):
    assert failing(prompts.seeds(flawed(flaw), 8)) == wrong


def test_a_clip_that_another_run_does_not_give_again_is_noticed(clips):
    made = [[PERFECT.make(open_prompt(g), seed) for seed in (0, 1)] for g in (0, 1)]
    again = [PERFECT.make(open_prompt(g), 7) for g in (0, 1)]
    assert failing(prompts.judge_seeds(made, again)) == ["seeds differ in place, size or ground"]


def test_a_detailer_sharpens_and_moves_nothing():
    assert failing(videos.detailer(PERFECT, 2)) == []


@pytest.mark.parametrize(
    ("flaw", "wrong"),
    [
        ("soft", "detailer gives edges back (share of their steepness)"),
        ("place", "detailer moves nothing"),
    ],
)
def test_a_detailer_that_leaves_clips_soft_or_moves_them_is_noticed(flaw, wrong):
    assert wrong in failing(videos.detailer(flawed(flaw), 2))


def test_a_detailer_that_an_unsharp_mask_beats_is_noticed():
    made = videos.Sharpened(regained=1.0, moved=0.0, gained=0.4, masked=0.5, like=30.0)
    off = replace(made, regained=0.0, gained=0.0, masked=0.0)
    other = replace(made, moved=0.2, like=14.0)
    assert failing(videos.judge_detailer([made], [off], [other])) == [
        "detailer comes nearer to the sharp clip (dB)"
    ]


def test_an_unsharp_mask_makes_slopes_steeper():
    sharp = filmed(asked(1), 1, (192, 320), frames=1)
    softened = videos.soft(sharp, 16)
    least, most = (videos.sharpness.steepness(each) for each in (softened, sharp))
    masked = videos.as_steep(softened, (least + most) / 2)
    assert videos.sharpness.steepness(masked) > least


def test_a_detailer_that_redraws_one_clip_always_does_not_follow():
    rows = [
        videos.Sharpened(regained=1.0, moved=0.0, gained=1.0, masked=0.2, like=likeness)
        for likeness in (30.0, 14.0, 13.0)
    ]
    off = [replace(rows[0], regained=0.0, gained=0.0, masked=0.0)]
    others = [replace(rows[0], moved=0.2, like=likeness) for likeness in (14.0, 13.0, 30.0)]
    assert failing(videos.judge_detailer(rows, off, others)) == ["detailer follows its clip (dB)"]


def test_a_spatial_upscaler_must_beat_bicubic():
    assert failing(videos.spatial(PERFECT, 2)) == []
    assert failing(videos.spatial(flawed("soft"), 2)) == ["spatial upscaler beats bicubic (dB)"]


@pytest.mark.parametrize(
    ("flaw", "wrong"),
    [
        (None, []),
        ("blend", ["temporal upscaler beats blended frames (dB)"]),
        (
            "frames",
            [
                "temporal upscaler beats repeated frames (dB)",
                "temporal upscaler beats blended frames (dB)",
                "things move in new frames (share of their way)",
            ],
        ),
    ],
)
def test_a_temporal_upscaler_must_make_new_frames(flaw, wrong):
    assert failing(videos.temporal(flawed(flaw), 2)) == wrong


def test_a_clip_in_which_nothing_moves_is_not_measured():
    with pytest.raises(ValueError, match="nothing moves"):
        videos.between(np.zeros((5, 32, 32, 3), np.uint8), np.zeros((5, 32, 32, 3), np.uint8))


def test_blending_and_repeating_make_one_frame_between_each_two():
    frames = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 100, 255)])
    assert videos.repeated(frames)[:, 0, 0, 0].tolist() == [0, 0, 100, 100, 255]
    assert videos.blended(frames)[:, 0, 0, 0].tolist() == [0, 50, 100, 178, 255]


def test_softening_keeps_the_mean_and_loses_the_slopes():
    sharp = filmed(asked(1), 1, (192, 320), frames=1)
    softened = videos.soft(sharp, 16)
    assert softened.shape == sharp.shape
    assert softened.mean() == pytest.approx(sharp.mean(), abs=1)
    assert np.abs(np.diff(softened.astype(int), axis=2)).max() < 60


def test_prompts_are_of_one_thing_that_training_never_had():
    seen = [asked(seed) for seed in range(20)]
    combos = {(t.colour, t.shape, t.motion) for each in seen for t in each.scene.things}
    assert len(combos) > 8
    assert all(len(each.scene.things) == 1 and not each.scene.silent for each in seen)


def test_a_prompt_for_a_camera_says_a_texture():
    for seed in range(10):
        found = asked(seed, held=False, textured=True)
        assert found.scene.texture != "plain"
        assert found.scene.texture in found.text


def test_a_prompt_for_a_camera_lets_nothing_else_move():
    assert {steering.at_rest(seed).scene.things[0].motion for seed in range(10)} == {"still"}


def test_a_silent_prompt_asks_for_silence_in_the_same_scene():
    found = asked(3)
    quiet = silenced(found)
    assert quiet.scene.silent
    assert quiet.scene.things == found.scene.things
    assert quiet.text.endswith(", in silence")


def test_an_open_prompt_names_neither_size_nor_ground():
    for seed in range(10):
        text = open_prompt(seed).text
        assert not any(word in text.split() for word in (*world.SIZES, *world.GROUNDS, "ground"))


def test_a_measure_holds_only_where_value_and_control_are_right():
    for value, control in itertools.product((0.8, 1.0), (0.1, 0.3)):
        measure = Measure(name="it", value=value, least=0.9, control=control, most=0.2, of=4)
        assert measure.holds is (value == 1.0 and control == 0.1)
        assert line(measure).startswith("ok" if measure.holds else "FAIL")
    with pytest.raises(ValueError, match="one value or more"):
        share([])


def test_every_group_is_a_command_of_its_own_and_one_clip_is_too_few():
    assert list(GROUPS) == [
        "prompts", "pro", "agreement", "seeds", "cameras", "cameras-pro", "pictures", "sounds",
        "detailer", "spatial", "temporal",
    ]  # fmt: skip
    assert (part(200), part(4)) == (50, 2)
    assert number("2") == 2
    for text in ("1", "-4", "few"):
        with pytest.raises(argparse.ArgumentTypeError, match="from 2 on"):
            number(text)
