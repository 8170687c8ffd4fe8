"""Recognisers of pictures: right on the world's clips, also worn ones, and not fooled by others."""

import random
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tiny import world
from tiny.measure import camera, scene, subject
from tiny.measure.accuracy import ASKED, MOVES, clips, film, right
from tiny.measure.wear import WEARS


def bare(texture, ground="teal", count=25):
    """A clip of the ground alone, panned to the left."""
    empty = world.scene(random.Random(1), (), ground=ground, texture=texture)
    pan = world.camera("dolly_left", random.Random(1))
    clip = world.film(empty, pan, torch.linspace(0, 1, count), 96, 160)
    return (clip.permute(1, 2, 3, 0) * 255).to(torch.uint8).numpy()


def test_true_clips_are_read_rightly():
    wrong = [
        (seed, name)
        for seed, filmed in enumerate(clips(2 * len(MOVES)))
        for name, good in right(filmed, "none", seed).items()
        if not good
    ]
    assert wrong == []


@pytest.mark.parametrize("wear", [wear for wear in WEARS if wear != "none"])
def test_worn_clips_are_read_rightly_nearly_always(wear):
    read = [right(filmed, wear, seed) for seed, filmed in enumerate(clips(4, first=len(wear)))]
    wrong = [name for each in read for name, good in each.items() if not good]
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("size", [(96, 160), (128, 128), (320, 192)])
def test_every_format_is_read_and_quickly(size):
    filmed = film(3, size=size, move="jib_up", shape="square", motion="down")
    begun = time.process_time()
    seen = scene.read(filmed.frames)
    assert time.process_time() - begun < 1.0
    assert {name: getattr(seen, name).name for name in ASKED} == filmed.truth


@pytest.mark.parametrize(("filled", "name"), [(0.0, "ring"), (0.5, "ring"), (0.9, "circle")])
def test_a_ring_is_what_has_a_hole_that_is_seen(filled, name):
    ring, circle = (
        film(2, move=None, shape=shape, motion="left", size=(160, 96)).frames.astype(np.float32)
        for shape in ("ring", "circle")
    )
    frames = (ring + filled * (circle - ring)).round().astype(np.uint8)
    assert subject.shape(frames).name == name


@pytest.mark.parametrize(
    ("move", "opposite", "motion", "back"),
    [
        ("dolly_left", "dolly_right", "up", "down"),
        ("jib_down", "jib_up", "left", "right"),
        ("dolly_in", "dolly_out", "bouncing", "bouncing"),
    ],
)
def test_a_clip_played_backwards_is_read_as_the_opposite(move, opposite, motion, back):
    frames = film(5, move=move, motion=motion).frames
    seen, backwards = scene.read(frames), scene.read(frames[::-1])
    assert (seen.camera.name, seen.motion.name) == (move, motion)
    assert (backwards.camera.name, backwards.motion.name) == (opposite, back)


def test_a_thing_that_shrinks_does_not_grow():
    frames = film(6, move="static", motion="growing").frames
    assert subject.motion(frames).name == "growing"
    assert subject.motion(frames[::-1]).name != "growing"


def test_shuffled_frames_have_neither_the_motion_nor_the_camera():
    filmed = film(7, move="dolly_right", motion="left", texture="dotted")
    order = np.random.default_rng(7).permutation(len(filmed.frames))
    seen = scene.read(filmed.frames[order])
    assert seen.motion.name != "left"
    assert seen.camera.name is None


def test_noise_is_nothing():
    frames = np.random.default_rng(8).integers(0, 256, (49, 96, 160, 3), np.uint8)
    seen = scene.read(frames)
    assert [getattr(seen, name).name for name in ASKED] == [None] * len(ASKED)
    assert set(seen.colour.scores.values()) == {0.0}


def test_another_prompts_clip_is_not_taken_for_the_right_one():
    asked = film(9, move="dolly_in", colour="red", shape="ring", motion="up")
    other = film(9, move="jib_up", colour="purple", shape="circle", motion="still")
    seen = scene.read(other.frames)
    assert not any(getattr(seen, name).name == truth for name, truth in asked.truth.items())


def test_a_hand_held_camera_is_not_static_and_moves_no_thing():
    for seed in range(2):
        held = scene.read(film(seed, move=None, motion="still", texture="checked").frames)
        fixed = scene.read(film(seed, move="static", motion="still", texture="checked").frames)
        assert (held.camera.name, held.motion.name) == (None, "still")
        assert (fixed.camera.name, fixed.motion.name) == ("static", "still")


@pytest.mark.parametrize(
    ("move", "x", "y", "zoom"),
    [
        ("dolly_left", world.PAN, 0, 1),
        ("jib_down", 0, -world.TILT, 1),
        ("dolly_out", 0, 0, 1 / world.ZOOM),
    ],
)
def test_the_grounds_travel_is_measured_in_heights(move, x, y, zoom):
    travel = camera.travel(film(11, move=move, texture="checked").frames)
    end = (travel.x[-1], travel.y[-1], travel.zoom[-1])
    assert end == pytest.approx((x, y, zoom), abs=0.015)
    assert travel.along is None


def test_stripes_show_motion_across_them_and_the_thing_tells_the_rest():
    filmed = film(12, move="dolly_left", texture="striped", motion="up")
    travel = camera.travel(filmed.frames)
    assert np.abs(travel.along) == pytest.approx((0.71, 0.71), abs=0.03)
    assert (travel.x[-1], travel.y[-1]) == pytest.approx((0.3, 0.3), abs=0.03)
    seen = scene.read(filmed.frames)
    assert (seen.camera.name, seen.motion.name) == ("dolly_left", "up")
    assert camera.move(bare("striped")).name is None


def test_a_plain_ground_hides_the_camera_and_not_the_thing():
    filmed = film(13, move=None, texture="plain", motion="down")
    seen = scene.read(filmed.frames)
    assert camera.travel(filmed.frames) is None
    assert {name: getattr(seen, name).name for name in ASKED} == filmed.truth


@pytest.mark.parametrize("move", [*world.CAMERAS, None])
def test_a_thing_at_rest_tells_what_the_camera_does_where_the_ground_cannot(move):
    seen = scene.read(film(18, move=move, texture="plain", motion="still").frames)
    assert seen.camera.name is None
    assert camera.at_rest(seen.camera, seen.thing).name == move


@pytest.mark.parametrize("move", [*world.CAMERAS, None])
def test_a_ground_and_a_thing_that_agree_are_one_answer(move):
    seen = scene.read(film(19, move=move, texture="checked", motion="still").frames)
    assert camera.at_rest(seen.camera, seen.thing).name == move


def test_a_thing_that_denies_what_the_ground_says_leaves_no_answer():
    seen = scene.read(film(20, move="static", texture="checked", motion="left").frames)
    assert seen.camera.name == "static"
    assert camera.at_rest(seen.camera, seen.thing).name is None
    assert camera.at_rest(seen.camera, None) == seen.camera


def test_a_ground_alone_has_a_camera_and_no_thing():
    seen = scene.read(bare("checked"))
    assert [getattr(seen, name).name for name in ASKED] == [None, None, None, "dolly_left"]


def test_a_thing_can_be_asked_for_by_its_colour():
    one = world.thing(random.Random(14), colour="red", shape="square", size="large", motion="still")
    two = world.thing(random.Random(15), colour="green", shape="ring", size="small", motion="up")
    both = world.scene(
        random.Random(16), (replace(one, x=-0.5), replace(two, x=0.5)), texture="dotted"
    )
    still = world.camera("static", random.Random(16))
    clip = world.film(both, still, torch.linspace(0, 1, 25), 96, 160)
    frames = (clip.permute(1, 2, 3, 0) * 255).to(torch.uint8).numpy()
    main, other = scene.read(frames), scene.read(frames, colour="green")
    assert (main.colour.name, main.shape.name, main.motion.name) == ("red", "square", "still")
    assert (other.shape.name, other.motion.name) == ("ring", "up")
    assert scene.read(frames, colour="white").shape.name is None


def test_what_is_no_clip_is_refused():
    with pytest.raises(ValueError, match=r"float32; wanted is uint8"):
        subject.colour(np.zeros((9, 96, 160, 3), np.float32))
    with pytest.raises(ValueError, match=r"9 frames of 16x16"):
        camera.move(np.zeros((9, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="no thing is 'pink'; there are red"):
        subject.shape(np.zeros((9, 96, 160, 3), np.uint8), colour="pink")
