"""Measures by the engine itself: untrained weights, of which none of them is to hold."""

import logging
import sys

import numpy as np
import pytest

from ltx2.engine import Engine
from ltx2.settings import Settings
from tiny.evaluate import __main__ as command
from tiny.evaluate import prompts, report, sounds, steering, videos
from tiny.evaluate.studio import EngineStudio, asked, filmed
from tiny.latents import LARGE, SMALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def untrained(untrained_family):
    return EngineStudio(Engine.load(str(untrained_family), settings=Settings.from_env({})))


@pytest.fixture(scope="module")
def made(untrained):
    """Clips of a circle that moves right, and of a triangle of another colour that moves left."""
    wanted = sounds.crossing(5)
    return [untrained.make(wanted[seed], seed) for seed in (1, 4)]


@pytest.fixture(scope="module")
def soft():
    return videos.soft(filmed(asked(0), 0, LARGE, frames=25), videos.SOFTENED)


def test_untrained_weights_show_and_sound_like_no_prompt(made):
    read = [steering.move_of(each) for each in made]
    measures = [
        *prompts.judge_prompts(made, made),
        *prompts.judge_agreement(made, made),
        *prompts.judge_seeds([made, made[::-1]], made),
        *sounds.judge_sides(made, made),
        *sounds.judge_silence(made, made),
        *steering.judge_cameras({"jib_up": read, "static": read}, read),
    ]
    assert [measure.name for measure in measures if measure.holds] == []


def test_a_clip_of_the_engine_lasts_as_long_as_its_frames(made):
    assert [each.seconds for each in made] == [49 / 24] * 2
    assert all(each.first.shape == (*LARGE, 3) and each.aspect == 5 / 3 for each in made)


def test_untrained_weights_do_not_keep_a_picture(untrained, tmp_path):
    measures = steering.pictures(untrained, 1)
    assert [measure.holds for measure in measures] == [False, False]


def test_a_detailer_that_has_learnt_nothing_is_as_good_as_off(untrained, soft):
    made, off = (
        untrained.restored(soft, task="detail", seed=1, strength=strength)
        for strength in (1.0, videos.OFF)
    )
    assert made.shape == off.shape == soft.shape
    assert np.array_equal(made, off)
    sharp = filmed(asked(0), 0, LARGE, frames=25)
    best, plain = untrained.through(sharp), untrained.through(soft)
    rows = [videos.compared(each, sharp, best, plain, soft) for each in (made, off)]
    measures = videos.judge_detailer(rows[:1], rows[1:], rows[:1])
    assert [measure.holds for measure in measures] == [False] * 4


def test_the_temporal_upscaler_gives_the_frames_between(untrained):
    fast = filmed(asked(0), 0, SMALL, frames=33)
    made = untrained.restored(
        fast[::2], task="upscale", spatial=1.0, temporal=True, refine=False, seed=1
    )
    # The last frame stands for the time up to the clip's end.
    assert made.shape == (34, *fast.shape[1:])


def test_the_command_prints_keeps_and_returns_its_verdict(
    untrained_family, tmp_path, monkeypatch, capsys, caplog
):
    path = tmp_path / "report.json"
    given = ["--checkpoint", str(untrained_family), "--only", "spatial", "--report", str(path)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *given, "--clips", "2"])
    caplog.set_level(logging.ERROR, logger="ltx2")
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("FAIL spatial upscaler beats bicubic (dB): ")
    kept = report.read(path)
    assert kept.weights == report.digest(untrained_family)
    group = kept.groups["spatial"]
    assert group.clips == 2
    (measure,) = group.measures
    assert (measure.holds, measure.of) == (False, 2)
    assert measure.value < measure.least
