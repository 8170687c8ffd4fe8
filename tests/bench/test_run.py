"""The frame of a benchmark: what it prints, keeps and refuses."""

import argparse
import json
from importlib import import_module

import pytest
import torch

from benchmarks import run
from benchmarks.bench import Bench
from benchmarks.scenarios import SCENARIOS, clip, coldstart
from benchmarks.scenarios.coldstart import plain_read, spans, weight_files
from benchmarks.scenarios.newborn import tensor_bytes
from benchmarks.scenarios.tail import clip_of, fitting, synthetic
from ltx2.drawn import decoded_chunk

SMALL = ["--device", "cpu", "--runs", "1", "--width", "128", "--height", "64", "--frames", "9"]


def measured(arguments, tmp_path, capsys):
    assert run.main([*arguments, "--results", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    (file,) = tmp_path.glob("*.jsonl")
    assert file.read_text().splitlines()[-1] == line
    return json.loads(line)


@pytest.mark.slow
def test_a_clip_beside_the_baselines_tells_forwards_rows_stages_and_ratios(tmp_path, capsys):
    told = measured(["fast", *SMALL, "--against", "b0,b1,b3"], tmp_path, capsys)
    rows = {row["name"]: row for row in told["rows"]}
    per_step = {name: (row["forwards_per_step"], row["rows_per_step"])
                for name, row in rows.items() if not name.startswith("ours, ")}  # fmt: skip
    # What the documentation's snippet does beyond one forward, and what eight arguments save.
    assert per_step == {"ours": (1, 1), "b0": (3, 4), "b1": (1, 1)}
    assert set(told["ratios"]) == {
        "ours / ours, prompt known",
        "ours / ours, not encoded",
        "ours / b0",
        "ours / b1",
    }
    stages = {"prompt", "base", "upsample", "refine", "sound", "decode+encode"}
    assert stages | {"load"} == set(rows["ours"]["stages"])
    assert stages == set(rows["b0"]["stages"]) == set(rows["b1"]["peak_gib"])
    assert told["tiled_decode_tflop"] >= told["work_tflop"]["decode+encode"]
    for row in rows.values():
        passes = [row["stages"][name]["median"] for name in ("base", "refine")]
        assert row["denoise_seconds"] == pytest.approx(sum(passes), rel=1e-3)
        assert row["denoise_mfu"] > 0
    assert 0 < rows["ours"]["mfu"] < 1
    assert [note for note in told["notes"] if note.startswith("b3 did not run: ")]
    assert told["card"]["plan_id"]
    assert told["card"]["weights"] == "tiny"


@pytest.mark.slow
def test_an_image_to_video_runs_on_drawn_weights_beside_the_stock_pipeline(tmp_path, capsys):
    arguments = ["fast_i2v", *SMALL, "--against", "b1", "--weights", "random"]
    told = measured([*arguments, "--checkpoint", "tiny"], tmp_path, capsys)
    assert told["card"]["weights"] == "random"
    assert told["card"]["plan"].startswith("image_to_video fast 128x64x9")
    assert told["card"]["changed"] == "128x64x9"
    assert {"ours", "b1"} < {row["name"] for row in told["rows"]}


def test_a_clip_is_told_as_another_only_where_it_differs_from_its_scenario(tmp_path):
    given = {"mode": "pro", "fields": {}, "picture": False, "weights": "tiny", "device": "cpu",
             "width": None, "height": None, "frames": None, "steps": None}  # fmt: skip

    def changed(**own):
        arguments = argparse.Namespace(**{**given, **own})
        return clip.card(Bench(arguments=arguments, scratch=tmp_path)).get("changed")

    assert changed() is None
    assert changed(steps=3) == "base 3 steps"
    assert changed(steps=10) is None  # as many as it has
    assert changed(width=128, height=64, frames=9, steps=3) == "128x64x9, base 3 steps"


@pytest.mark.parametrize("kind", ["plain", "cfg"])
def test_a_step_does_the_work_of_its_rows(kind, tmp_path, capsys):
    sizes = ["--sizes", "64x64x9", "--kinds", kind, "--runs", "1", "--device", "cpu"]
    told = measured(["forward", *sizes], tmp_path, capsys)
    (row,) = told["rows"]
    assert row["tokens"] == 2 * 2 * 2
    assert row["rows_per_step"] == {"plain": 1, "cfg": 2}[kind]


def test_every_scenario_has_a_module_that_measures():
    for scenario in SCENARIOS.values():
        assert callable(import_module(f"benchmarks.scenarios.{scenario.module}").measure)


def test_the_usual_clips_are_scenarios():
    asked = SCENARIOS["pro_1080p_10s_i2v"].request
    assert asked["mode"] == "pro"
    assert asked["fields"] == {"resolution": "1080p", "duration": 10}
    assert len([name for name in SCENARIOS if name.startswith(("fast", "pro"))]) == 20


def test_an_unknown_scenario_is_refused_with_those_there_are(capsys):
    assert run.main(["quickly"]) == 2
    assert "fast_720p_5s" in capsys.readouterr().err


def test_what_cannot_be_measured_ends_with_a_reason_and_no_result(tmp_path, capsys):
    arguments = ["soak", "--weights", "random", "--checkpoint", "tiny", "--device", "cpu"]
    assert run.main([*arguments, "--results", str(tmp_path)]) == 2
    assert "its jobs are made for the tiny checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_drawn_weights_are_written_and_read_beside_a_plain_read(tmp_path, capsys):
    arguments = ["coldstart", "--weights", "random", "--checkpoint", "tiny", "--device", "cpu"]
    told = measured([*arguments, "--runs", "1", "--folder", str(tmp_path)], tmp_path, capsys)
    rows = {row["name"]: row for row in told["rows"]}
    reads = ["plain read", "plain read, one reader", "plain read, two readers"]
    assert sorted(rows) == [*reads, "transformer"]
    fastest, one, two = (rows[name]["seconds"]["median"] for name in reads)
    assert fastest == min(one, two)
    # The files are this transformer alone: headers apart, what is loaded is what they hold.
    assert told["loaded_gb"] == pytest.approx(told["weights_gb"], rel=0.02)
    rates = rows["transformer"]["gb_per_second"] / rows["plain read"]["gb_per_second"]
    assert told["ratios"] == {"rate of loading / plain read": pytest.approx(rates, rel=2e-3)}
    assert told["weights_gb"] == pytest.approx(0.0096, rel=0.02)  # 2.4 million in float32
    assert [file.suffix for file in tmp_path.iterdir()] == [".jsonl"]


def test_a_drawn_transformer_is_written_by_as_many_blocks_as_are_asked_for(tmp_path, capsys):
    arguments = ["coldstart", "--weights", "random", "--checkpoint", "tiny", "--device", "cpu"]
    told = measured(
        [*arguments, "--runs", "1", "--folder", str(tmp_path), "--blocks", "1"], tmp_path, capsys
    )
    assert told["blocks"] == 1
    assert 0 < told["weights_gb"] < 0.0096 * 0.9
    with pytest.raises(ValueError, match="so 99 cannot be taken"):
        run.main([*arguments, "--folder", str(tmp_path), "--blocks", "99", "--no-keep"])


def test_frames_of_the_tail_come_whole_and_move():
    pixels = synthetic(64, 48, 20)
    clip = clip_of(iter([pixels[:16], pixels[16:]]), (64, 48, 20), torch.zeros(2, 10).numpy())
    assert [len(chunk) for chunk in clip.frames] == [16, 4]
    assert (pixels[0] != pixels[1]).any()


def test_a_decoders_frames_become_the_bytes_that_they_were_made_of():
    pixels = torch.from_numpy(synthetic(64, 48, 20))
    decoded = pixels.permute(3, 0, 1, 2)[None].float().div_(127.5).sub_(1)
    assert (decoded_chunk(decoded) == pixels.numpy()).all()


def test_the_ways_in_floats_get_no_more_frames_than_memory_holds():
    one = 100 * 50 * 3 * 4 * 5
    assert fitting(100, 50, 121, free=20 * one) == 17
    assert fitting(100, 50, 5, free=20 * one) == 5


def test_the_files_of_a_cold_start_are_those_a_clip_reads(engine, tmp_path):
    from types import SimpleNamespace

    names = {file.name for file in weight_files(SimpleNamespace(engine=engine), "fast")}
    assert "ltx-2-tiny-distilled.safetensors" in names
    assert not {name for name in names if "dev" in name or "lora" in name}
    file = tmp_path / "weights"
    file.write_bytes(bytes(1000))
    assert plain_read([file, file]) > 0


def test_readers_share_out_every_byte_of_the_files_once(tmp_path, monkeypatch):
    monkeypatch.setattr(coldstart, "SPAN", 300)
    monkeypatch.setattr(coldstart, "PIECE", 128)
    files = [tmp_path / name for name in "abc"]
    for file, size in zip(files, (1000, 0, 300), strict=True):
        file.write_bytes(bytes(size))
    first, _, last = files
    ends = [(0, 300), (300, 600), (600, 900), (900, 1000)]
    assert spans(files) == [*((first, *each) for each in ends), (last, 0, 300)]
    assert plain_read(files, readers=3) > 0


def test_a_tensor_that_two_modules_share_is_loaded_once():
    one, other = torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(4)
    assert tensor_bytes([one]) == 4 * (4 * 2 + 2)
    assert tensor_bytes([one, "a tokenizer", one, other]) == tensor_bytes([one]) + tensor_bytes(
        [other]
    )
    assert tensor_bytes([other]) == 4 * 4 * 4 + 8  # two learned, two counted, and how often


def test_drawn_weights_that_are_cut_off_leave_every_turn_there_was(tmp_path, monkeypatch):
    turns = []
    read = coldstart.Rates.read

    def read_or_end(self):
        turns.append(self)
        if len(turns) == 3:  # a warm-up, and one that counts
            raise KeyboardInterrupt
        return read(self)

    monkeypatch.setattr(coldstart.Rates, "read", read_or_end)
    arguments = ["coldstart", "--weights", "random", "--checkpoint", "tiny", "--device", "cpu"]
    with pytest.raises(KeyboardInterrupt):
        run.main([*arguments, "--runs", "2", "--results", str(tmp_path)])
    (file,) = tmp_path.glob("*.partial.jsonl")
    assert "transformer" in {row["name"] for row in json.loads(file.read_text())["rows"]}
