"""The quality gate: equal runs are equal, and what differs is told where it does."""

import json

import numpy as np
import pytest

from benchmarks import compare, gate, quality, tables
from benchmarks.results import kept as kept_results
from pipelines.checkpoints.quantise import QUANTISABLE
from tests.rules.tree import ROOT

SMALL = ["--width", "128", "--height", "64", "--num-frames", "9", "--device", "cpu"]


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)


def test_what_is_equal_has_no_error(frames):
    assert list(quality.by_frame(frames, frames)) == [(quality.MOST, 1.0)] * 2
    assert quality.relative_error(frames, frames) == 0
    assert quality.snr(frames, frames) == quality.MOST


def test_psnr_is_what_arithmetic_says(frames):
    darker = np.clip(frames, 10, 255) - 10
    assert quality.psnr(np.clip(frames, 10, 255), darker) == pytest.approx(28.13, abs=0.01)


def test_ssim_falls_with_noise_and_hardly_with_light(frames):
    flat = np.full((24, 32, 3), 120, np.uint8)
    picture = flat.copy()
    picture[6:18, 8:24] = 200
    noise = np.random.default_rng(1).integers(-30, 30, picture.shape)
    noisy = np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)
    lighter = picture + 8
    assert quality.ssim(picture, noisy) < 0.9 < 0.98 < quality.ssim(picture, lighter) < 1


def test_ssim_refuses_a_picture_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 pixels"):
        quality.ssim(np.zeros((8, 32, 3), np.uint8), np.zeros((8, 32, 3), np.uint8))


def test_two_equal_runs_agree_and_a_rounded_one_does_not(tmp_path, capsys):
    kept = tmp_path / "plain.npz"
    small = [*SMALL, "--results", str(tmp_path)]
    assert compare.main(["plain", "plain", *small, "--save", str(kept), "--psnr", "98"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["latent_error"] == [0.0] * 12  # 8 and 3 steps, and what is decoded
    assert told["psnr"] == [quality.MOST] * 9
    assert "seconds" not in told  # of single cold runs, which compare nothing
    rounded = "LTX2_DTYPE=bfloat16"
    assert compare.main([str(kept), rounded, *small, "--latents", "1e-6"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < max(told["latent_error"]) < 0.2
    assert told["problems"]
    equal, off = kept_results(tmp_path)
    shown = tables.quality([equal]).splitlines()[-1]
    assert "| `plain` | `plain` |" in shown
    assert "| 99.0 / 99.0 | 1.0000 | 99.0 | 0; 98 |" in shown
    assert "**exceeded**" in tables.quality([off]).splitlines()[-1]


def test_every_lever_and_every_way_to_round_has_a_limit(engine):
    levers = {f"LTX2_{name.upper()}" for name in engine.levers}
    rounded = {f"LTX2_{part.upper()}_QUANTISATION" for part in QUANTISABLE}
    assert levers | rounded <= gate.LIMITS.keys()
    settings = (
        ROOT / "docs" / "configuration.md"
    ).read_text()  # held against the settings elsewhere
    assert [name for name in gate.LIMITS if f"`{name}`" not in settings] == []


def test_two_options_together_may_cost_what_the_worse_one_does():
    fp8 = {"LTX2_TRANSFORMER_QUANTISATION": "fp8"}
    assert gate.limit_for({}, {}) == gate.SAME
    assert gate.limit_for(fp8, {**fp8, "LTX2_BLOCKS": "stock"}) == gate.ROUNDED_OTHERWISE
    assert gate.limit_for({}, {**fp8, "LTX2_BLOCKS": "stock"}) == gate.limit_for({}, fp8)
    assert gate.limit_for({}, {"LTX2_X264_CRF": "30"}) is None


def test_what_is_worse_than_its_limit_is_told():
    found = {"psnr": [60, 20], "latent_error": [0, 0.5]}
    told = gate.problems(found, gate.Limit(0.1, 30))
    assert len(told) == 2
    assert "20.00 dB; 30" in told[0]
    assert not gate.problems(found, gate.Limit(0.5, 20))


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (["plain", "LTX2_FOO=1"], "LTX2_FOO is no setting"),
        (["plain", "fp8"], "fp8: a side is plain, a FILE.npz, or NAME=VALUE"),
        (["plain", "LTX2_X264_CRF=30"], "differ in what has no limit"),
        (["plain", "there.npz"], "differ in what has no limit"),
    ],
)
def test_a_side_that_cannot_be_judged_is_refused_before_anything_is_made(sides, said, capsys):
    with pytest.raises(SystemExit):
        compare.main([*sides, *SMALL])
    assert said in capsys.readouterr().err


def test_drawn_weights_are_the_same_on_both_sides_and_another_lever_stays_near(tmp_path, capsys):
    drawn = [*SMALL, "--weights", "random", "--results", str(tmp_path), "--latents", "1e-3"]
    assert compare.main(["plain", "LTX2_BLOCKS=stock", *drawn]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(told["latent_error"]) == 12
    assert max(told["latent_error"]) < 1e-3  # other weights would be far off
    assert (told["card"]["weights"], told["card"]["checkpoint"]) == ("random", "tiny")


def test_a_type_that_would_be_drawn_otherwise_is_refused(capsys):
    with pytest.raises(SystemExit):
        compare.main(["plain", "LTX2_DTYPE=bfloat16", *SMALL, "--weights", "random"])
    assert "weights of another type are drawn otherwise" in capsys.readouterr().err


def test_traces_of_different_clips_are_refused():
    def trace(steps):
        return compare.Trace(
            plan="",
            latents=[np.zeros((4, 8), np.float32)] * steps,
            frames=np.zeros((1, 16, 16, 3), np.uint8),
            audio=np.zeros((0, 0), np.float32),
        )

    with pytest.raises(ValueError, match="different sizes, steps or tiles"):
        compare.compared(trace(2), trace(3))
