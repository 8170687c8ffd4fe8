"""Scenarios run on the tiny checkpoint from end to end, with as little work as they take."""

import json

import pytest

from benchmarks import levers, run
from benchmarks.bench import Unmeasurable
from benchmarks.scenarios import stages

LEAST = ["--device", "cpu", "--runs", "1"]


@pytest.fixture
def measured(tmp_path, capsys):
    """Runs a scenario; its rows by name, and all that it told."""

    def measure(name, *arguments):
        status = run.main([name, *LEAST, *arguments, "--results", str(tmp_path)])
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (status, told["problems"]) == (0, [])
        assert [file.suffixes for file in tmp_path.iterdir()] == [[".jsonl"]]
        return {row["name"]: row for row in told["rows"]}, told

    return measure


def test_every_part_is_measured_and_the_decoder_is_the_engines_own_in_both_layouts(measured):
    rows, told = measured("stages", "--size", "64x64x9")
    assert {name.partition(", ")[0] for name in rows} == set(stages.KINDS) - {stages.LIGHTRICKS}
    # Lightricks' own is beside them where its packages are installed.
    decoders = [name for name in rows if name.startswith("decoder") and "Light" not in name]
    assert decoders == [
        "decoder, the plan's tiles",
        "decoder, one tile",
        "decoder, the plan's tiles, vae_layout=contiguous",
        "decoder, one tile, vae_layout=contiguous",
        "decoder, diffusers' own, one tile",
    ]
    ratios = {name for name in told["ratios"] if "Light" not in name}
    assert ratios == {f"{name} / {decoders[0]}" for name in decoders[1:]}
    assert all(rows[name]["mfu"] > 0 for name in decoders)


def test_a_part_can_be_measured_alone(measured):
    rows, _ = measured("stages", "--only", "vocoder")
    assert list(rows) == ["vocoder"]


def test_levers_take_turns_in_one_process_and_rows_are_named_after_them(measured):
    given = ["--sizes", "64x64x9", "--kinds", "plain,stock,picture,stock_picture"]
    rows, told = measured("forward", *given, "--levers", "blocks=stock,attention=math")
    sets = ("", ", blocks=stock,attention=math")
    ours = {f"{kind} 64x64x9{each}" for kind in ("plain", "picture") for each in sets}
    assert set(rows) == ours | {"stock 64x64x9", "stock_picture 64x64x9"}
    assert all(row["forwards_per_step"] == row["rows_per_step"] == 1 for row in rows.values())
    assert "picture 64x64x9 / stock_picture 64x64x9" in told["ratios"]
    assert f"plain 64x64x9{sets[1]} / plain 64x64x9" in told["ratios"]


def test_what_is_no_lever_is_refused_with_those_there_are(engine):
    with pytest.raises(Unmeasurable, match=r"'speed=high' is no lever; .*attention, blocks"):
        levers.chosen("speed=high", engine)
    with pytest.raises(Unmeasurable, match="BLOCKS"):
        levers.chosen("blocks=fast", engine)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forward", "--levers", "speed=high"], "'speed=high' is no lever"),
        (["forward", "--sizes", "64x64"], "--sizes: '64x64' is not WIDTHxHEIGHTxFRAMES"),
        (["forward", "--kinds", "fast"], "no kinds: fast"),
        (["fast", "--against", "b9"], "no baselines: b9"),
        (["forward", "--weights", "/nowhere"], "'/nowhere' is no checkpoint"),
    ],
)
def test_arguments_that_cannot_be_are_a_sentence(arguments, said, capsys):
    assert run.main([*arguments, *LEAST, "--no-keep"]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_levers_and_the_decoders_weights_are_put_back(engine):
    import torch

    conv = next(m for m in engine.components.part("vae").decoder.modules()
                if isinstance(m, torch.nn.Conv3d) and m.in_channels > 1)  # fmt: skip
    before, values = engine.components.levers, conv.weight.clone()
    strides = conv.weight.stride()
    (_, contiguous) = levers.chosen("vae_layout=contiguous", engine)
    with contiguous.pulled(engine):
        assert engine.levers["vae_layout"] == "contiguous"
        assert conv.weight.is_contiguous()
        assert torch.equal(conv.weight, values)
    assert engine.components.levers == before
    assert conv.weight.stride() == strides != values.contiguous().stride()


def test_ceilings_have_a_rate_each_and_copies_on_the_device_count_both_ways(measured):
    rows, _ = measured("ceilings", "--repeat", "1", "--tokens", "64")
    copied = rows["copy on the device, read + written"]
    assert copied["gb_per_second"] == pytest.approx(
        2 * 2**28 / copied["seconds"]["median"] / 1e9, rel=1e-2
    )
    assert all(row["tflops"] > 0 for name, row in rows.items() if "copy" not in name)
    assert "attention math 64" in rows


@pytest.mark.slow
def test_engines_side_by_side_make_clips_beside_one_of_them_and_the_command(measured):
    rows, told = measured("batch", "--clips", "2", "--engines", "2", "--against", "none")
    assert list(rows) == ["2 engines", "one engine", "ltx2 batch, loading counted"]
    assert "2 engines / one engine" in told["ratios"]
    # Their memory is in other processes: a number of this one's would not be theirs.
    assert not [row for row in rows.values() if "peak_gib" in row]
    assert all(row["clips_per_minute"] > 0 for row in rows.values())


@pytest.mark.slow
def test_a_new_process_tells_its_phases_to_the_first_clip(measured):
    rows, told = measured("coldstart")
    phases = {"interpreter", "import", "find", "weights", "warm", "forecast", "first clip"}
    assert set(rows["process to first clip"]["stages"]) == phases
    assert rows["plain read"]["gb_per_second"] > 0
    assert told["seconds_by_part"]
    # In float32; the files also hold what a clip does without.
    assert told["loaded_gb"] > 0.0096
    assert list(told["ratios"]) == ["rate of loading / plain read"]


@pytest.mark.slow
def test_a_lora_is_switched_loaded_anew_and_fused(measured):
    rows, told = measured("lora_switch")
    assert {"switch", "load anew", "refine, beside", "refine, fused", "fuse", "undo"} < set(rows)
    assert "load anew / switch" in told["ratios"]


def test_a_drawn_lora_is_switched_and_loaded_anew(measured):
    rows, told = measured("lora_switch", "--weights", "random", "--checkpoint", "tiny")
    assert list(rows) == ["switch", "load anew"]
    assert "load anew / switch" in told["ratios"]
    assert told["notes"] == ["fusing was not run: full-size weights are not there a second time"]
