"""The recogniser of the ground: right on true and worn clips, and silent where there is none."""

import numpy as np
import pytest

from tiny import world
from tiny.measure import ground, scene
from tiny.measure.accuracy import film
from tiny.measure.wear import WEARS


@pytest.mark.parametrize("texture", world.TEXTURES)
def test_every_ground_is_told_behind_every_texture(texture):
    for seed in range(6):
        filmed = film(seed, move=None, texture=texture, frames=9)
        assert ground.ground(filmed.frames).name == filmed.scene.ground


@pytest.mark.parametrize("wear", [wear for wear in WEARS if wear != "none"])
def test_worn_grounds_are_told_nearly_always(wear):
    draw = np.random.default_rng(1)
    clips = [film(seed, move=None, frames=9) for seed in range(20, 28)]
    read = [ground.ground(WEARS[wear](each.frames, draw)).name for each in clips]
    wrong = [
        each.scene.ground
        for each, name in zip(clips, read, strict=True)
        if name != each.scene.ground
    ]
    assert len(wrong) <= 1, wrong


def test_what_is_read_in_one_go_is_the_same():
    filmed = film(3, move="static", frames=9)
    seen = scene.read(filmed.frames)
    assert seen.ground == ground.ground(filmed.frames)
    assert seen.thing is not None
    assert seen.thing.colour == filmed.scene.things[0].colour


def test_things_everywhere_leave_no_ground():
    frames = np.full((9, 96, 160, 3), (230, 41, 36), np.uint8)
    reading = ground.ground(frames)
    assert reading.name is None
    assert set(reading.scores.values()) == {0.0}
