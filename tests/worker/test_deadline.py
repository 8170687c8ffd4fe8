"""Deadlines: what cannot be done in time is refused, what runs out of time stops."""

from dataclasses import replace

import pytest

import ltx2
from ltx2.errors import DeadlineExceeded
from ltx2.worker.deadline import Deadline, Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def plan(**fields):
    return ltx2.plan(ltx2.Request.parse({"prompt": "x", "seed": 1, **fields}), checkpoint="ltx-2.3")


def test_some_seconds_are_kept_for_the_answer():
    clock = Clock()
    deadline = Deadline(60, clock=clock)
    assert deadline.left == 55
    clock.now += 54.9
    deadline.check()
    clock.now += 0.2
    with pytest.raises(DeadlineExceeded, match="execution timeout of 60 s"):
        deadline.check()


def test_a_short_time_keeps_a_tenth_for_the_answer():
    assert Deadline(10, clock=Clock()).left == 9


def test_without_a_limit_there_is_always_time():
    deadline = Deadline(None, clock=Clock())
    assert deadline.left == float("inf")
    deadline.check()


def test_nothing_is_refused_before_anything_was_measured():
    pace = Pace()
    assert pace.estimate(plan(), "resident") is None
    pace.check(plan(), "resident", Deadline(5))


def test_a_longer_clip_is_foretold_to_take_longer():
    pace, short, long = Pace(), plan(duration=2), plan(duration=10)
    pace.learn(short, "resident", {"base": 10.0})
    assert pace.estimate(short, "resident") == pytest.approx(10.0)
    assert pace.estimate(long, "resident") > 50


def test_a_clip_that_cannot_be_done_in_time_is_refused_with_what_it_takes():
    pace = Pace()
    pace.learn(plan(duration=2), "resident", {"base": 10.0})
    with pytest.raises(DeadlineExceeded) as refusal:
        pace.check(plan(duration=10), "resident", Deadline(30))
    assert "execution timeout of 30 s leaves 27" in str(refusal.value)
    pace.check(plan(duration=2), "resident", Deadline(30))


def test_the_fastest_of_the_last_jobs_counts():
    pace = Pace()
    for seconds in (50.0, 10.0, 90.0):
        pace.learn(plan(), "resident", {"base": seconds})
    assert pace.estimate(plan(), "resident") == pytest.approx(10.0)


def test_modes_and_residencies_are_measured_apart():
    pace = Pace()
    pace.learn(plan(), "resident", {"base": 10.0})
    assert pace.estimate(plan(), "stream") is None
    assert pace.estimate(replace(plan(), mode="pro"), "resident") is None


def test_what_does_not_grow_with_the_clip_is_no_pace():
    pace = Pace()
    pace.learn(plan(), "resident", {"load": 500.0, "enhance": 9.0, "base": 6.0, "refine": 4.0})
    assert pace.estimate(plan(), "resident") == pytest.approx(10.0)


def test_a_far_larger_clip_is_not_foretold_from_a_small_one():
    pace, small = Pace(), plan(width=128, height=128, num_frames=9)
    pace.learn(small, "resident", {"base": 3.0})
    large = plan(duration=20, resolution="1080p")
    assert pace.estimate(large, "resident") is None
    pace.check(large, "resident", Deadline(600))
    pace.learn(plan(duration=5, resolution="1080p"), "resident", {"base": 40.0})
    assert pace.estimate(large, "resident") > 200


def test_a_smaller_clip_is_foretold_from_a_large_one():
    pace = Pace()
    pace.learn(plan(duration=10), "resident", {"base": 40.0})
    assert 0 < pace.estimate(plan(duration=1), "resident") < 8
