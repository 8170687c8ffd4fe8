"""The page says what the results say, and nothing else."""

import json
from xml.etree import ElementTree

import pytest

from benchmarks import tables
from benchmarks.picture import drawn
from benchmarks.results import Findings, as_line, keep, kept
from benchmarks.timing import Sample


@pytest.fixture
def clip():
    """A result as a run of a clip keeps it."""
    found = Findings()
    for name, seconds in (("ours", 2.0), ("b1", 5.0)):
        runs = [Sample(seconds=seconds + more, stages={"base": seconds / 2}, peaks={"base": 3.0})
                for more in (0.0, 0.5, 1.0)]  # fmt: skip
        found.add(name, runs, forwards_per_step=1.0, rows_per_step=1.0, mfu=0.25)
    found.compare("ours", "b1")
    found.facts = {"floor_seconds": {"base": 0.5}}
    card = {"scenario": "fast", "date": "2026-01-01 00:00", "commit": "abc",
            "device": "NVIDIA H200", "weights": "random",
            "generation": "2.3", "torch": "2", "diffusers": "0",
            "plan": "a plan", "plan_id": "0123"}  # fmt: skip
    return json.loads(as_line(card, found))


def test_the_page_and_the_picture_are_what_the_results_say(capsys):
    assert tables.main(["--check"]) == 0, f"{capsys.readouterr().out}; python -m benchmarks.tables"


def test_every_mark_of_the_page_has_a_table_and_every_table_a_mark():
    page = tables.PAGE.read_text()
    assert {mark[2] for mark in tables.MARK.finditer(page)} == set(tables.TABLES)
    assert page.count("<!-- results:") == page.count("<!-- end -->") == len(tables.TABLES)


def test_a_row_has_medians_spread_and_ratio(clip):
    (ours, other) = tables.clips([clip]).splitlines()[2:]
    assert "NVIDIA H200 (2.3, random) | `fast` | ours | 2.5 (2 to 3)" in ours
    assert "25.0%" in ours
    assert other.endswith("| 0.45 |")


def test_a_ratio_is_that_of_turns_and_not_of_medians():
    found = Findings()
    for name, each in (("ours", (1.0, 10.0, 3.0)), ("other", (2.0, 20.0, 4.0))):
        found.add(name, [Sample(seconds=seconds) for seconds in each])
    found.compare("ours", "other")
    assert found.ratios == {"ours / other": 0.5}


def test_only_the_newest_of_equal_measurements_is_shown(clip):
    older = json.loads(json.dumps(clip))
    older["rows"][0]["seconds"]["median"] = 99.0
    elsewhere = json.loads(json.dumps(clip))
    elsewhere["card"]["device"] = "NVIDIA H100"
    assert tables.latest([older, elsewhere, clip]) == [clip, elsewhere]


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("levers", {"blocks": "compiled"}),
        ("dtype", "float32"),
        ("residency", "offload"),
        ("quantised", {"transformer": "fp8"}),
    ],
)
def test_what_was_computed_in_another_way_does_not_replace_a_result(clip, fact, value):
    other = json.loads(json.dumps(clip))
    other["card"][fact] = value
    assert tables.latest([clip, other]) == [clip, other]


def test_a_run_that_was_cut_off_is_shown_until_there_is_a_whole_one(clip):
    cut = json.loads(json.dumps(clip))
    cut["card"]["partial"] = True
    assert tables.latest([cut]) == [cut]
    assert "(2.3, random, cut off)" in tables.clips([cut])
    assert tables.latest([cut, clip]) == tables.latest([clip, cut]) == [clip]


def test_denoising_levers_and_the_capability_are_shown(clip):
    clip["rows"][0] |= {"denoise_seconds": 1.25, "denoise_mfu": 0.655}
    (ours, other) = tables.clips([clip]).splitlines()[2:]
    assert "| 1.25 | 65.5% |" in ours
    assert "|  |  |" in other
    clip["card"] |= {"levers": {"attention": "cudnn", "blocks": "triton"}, "capability": "9.0"}
    line = tables.machines([clip]).splitlines()[-1]
    assert "attention cudnn, blocks triton" in line
    assert "capability 9.0" in line


def test_the_picture_has_a_bar_a_way_and_the_floor(clip):
    picture = drawn([clip])
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert picture.count("<title>base") == 3
    for words in ("ours", "b1", "arithmetic floor", "0.5 s", "fast on NVIDIA H200"):
        assert words in picture


def test_a_clip_that_is_not_the_scenarios_own_is_shown_as_another(clip):
    clip["card"]["changed"] = "128x64x9, base 3 steps"
    for told in (tables.clips([clip]), tables.ratios([clip]), tables.machines([clip])):
        assert "`fast` with 128x64x9, base 3 steps |" in told
    assert "fast with 128x64x9, base 3 steps on NVIDIA H200" in drawn([clip])


def test_what_is_kept_is_read_again(tmp_path, clip):
    for _ in range(2):
        file = keep(json.dumps(clip), "NVIDIA H200 (141 GB)", tmp_path)
    assert file.name == "nvidia-h200-141-gb.jsonl"
    assert kept(tmp_path) == [clip, clip]


def test_a_page_with_an_unknown_mark_is_refused(clip):
    with pytest.raises(KeyError, match="nonsense"):
        tables.filled("<!-- results: nonsense -->\n<!-- end -->", [clip])
