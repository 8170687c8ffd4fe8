"""What the shipped weights can do, in short: a few clips of each kind, within a minute.

`make tiny-eval` measures it over hundreds; here a weight file that was damaged, or an engine that
ruins its clips, is noticed by every run of the tests.
"""

import pytest

from tiny.evaluate import prompts, sounds, steering, videos
from tiny.evaluate.measures import line, share
from tiny.evaluate.studio import EngineStudio, asked, filmed, silenced
from tiny.latents import LARGE

pytestmark = pytest.mark.slow

CLIPS = 6
# Of so few clips; what the report asks of hundreds is higher.
LEAST = {"colour": 0.8, "shape": 0.6, "motion": 0.6, "pitch": 0.8}
MOVES = ("dolly_in", "dolly_out", "dolly_left", "jib_up")
SHOT = 1  # seed of the prompt that cameras film


@pytest.fixture(scope="module")
def studio(engine):
    return EngineStudio(engine)


@pytest.fixture(scope="module")
def fast(studio):
    """Clips of prompts that training never had."""
    return [studio.make(asked(seed), seed) for seed in range(CLIPS)]


@pytest.mark.parametrize("name", LEAST)
def test_clips_show_and_sound_like_their_prompt_and_not_like_another(fast, name):
    others = [prompts.following(fast, index, name) for index in range(CLIPS)]
    right = share([prompts.told(each, each.asked)[name] for each in fast])
    wrong = share(
        [prompts.told(each, other.asked)[name] for each, other in zip(fast, others, strict=True)]
    )
    assert right >= LEAST[name]
    assert wrong <= 0.4


def test_pro_shows_the_same_as_fast(studio, fast):
    pro = [studio.make(fast[seed].asked, seed, mode="pro") for seed in range(2)]
    assert any(prompts.alike(*pair) for pair in zip(fast, pro, strict=False))
    assert not prompts.alike(fast[0], pro[1])


def test_cameras_move_as_they_are_asked_to(studio):
    found = steering.at_rest(SHOT)
    clips = {move: studio.make(found, SHOT, camera_motion=move) for move in MOVES}
    seen = {move: steering.move_of(made) for move, made in clips.items()}
    assert sum(name == move for move, name in seen.items()) >= len(MOVES) - 1, seen
    assert steering.move_of(studio.make(found, SHOT)) not in MOVES


def test_a_clip_begins_with_the_picture_that_it_is_given(studio):
    measures = steering.pictures(studio, 3)
    assert [line(measure) for measure in measures if not measure.holds] == []


def test_the_sound_goes_where_the_thing_goes_and_is_silent_if_asked(studio):
    left, right = sounds.crossing(2)
    goes = {each.text: sounds.goes(studio.make(each, 0)) for each in (left, right)}
    assert goes == {left.text: "left", right.text: "right"}
    quiet = studio.make(silenced(left), 0)
    assert [measure.value for measure in sounds.judge_silence([quiet], [quiet])] == [1.0]


def test_the_detailer_brings_a_soft_clip_nearer_to_the_sharp_one(studio):
    sharp = filmed(asked(0), 0, LARGE, frames=17)
    given = videos.soft(sharp, videos.SOFTENED)
    best, plain = studio.through(sharp), studio.through(given)
    made = studio.restored(given, task="detail", seed=0)
    found = videos.compared(made, sharp, best, plain, given)
    assert found.in_place
    assert found.gained > max(0, found.masked)


@pytest.mark.parametrize("measured", [videos.spatial, videos.temporal])
def test_upscalers_beat_plain_ways(studio, measured):
    measures = measured(studio, 1)
    assert [line(measure) for measure in measures if not measure.holds] == []
