"""The report of measures: kept by groups, never from fewer clips, never of other weights."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiny.evaluate import report
from tiny.evaluate.__main__ import counted, keep
from tiny.evaluate.measures import Measure
from tiny.evaluate.report import DamagedReport, Report


def measure(value=1.0, **changes):
    usual = {"name": "it", "least": 0.9, "control": 0.1, "most": 0.2, "of": 4}
    return Measure(value=value, **{**usual, **changes})


def test_what_is_written_is_read_again_and_says_what_holds(tmp_path):
    path = tmp_path / report.FILE
    whole = Report(weights="a").with_group("prompts", 4, [measure(), measure(0.5, name="other")])
    report.write(path, whole)
    assert report.read(path) == whole
    rows = json.loads(path.read_text())["groups"]["prompts"]["measures"]
    assert [(row["name"], row["holds"]) for row in rows] == [("it", True), ("other", False)]
    assert [each.name for each in tmp_path.iterdir()] == [report.FILE]


def test_a_group_is_replaced_by_as_many_clips_or_more_and_never_by_fewer(tmp_path):
    path = tmp_path / report.FILE
    assert keep(path, "a", "prompts", 4, [measure(0.91)])
    assert keep(path, "a", "seeds", 2, [measure(0.92)])
    assert not keep(path, "a", "prompts", 2, [measure(0.93)])
    assert keep(path, "a", "seeds", 2, [measure(0.94)])
    found = report.read(path).groups
    assert {name: (group.clips, group.measures[0].value) for name, group in found.items()} == {
        "prompts": (4, 0.91),
        "seeds": (2, 0.94),
    }
    assert [counted(name, 200, 50) for name in ("prompts", "cameras", "cameras-pro")] == [
        200,
        50,
        50,
    ]


def test_groups_that_are_measured_at_the_same_time_are_all_kept(tmp_path):
    path = tmp_path / report.FILE
    names = [f"group {index}" for index in range(40)]
    with ThreadPoolExecutor(8) as pool:
        kept = pool.map(lambda name: keep(path, "a", name, 2, [measure()]), names)
        assert all(kept)
    assert set(report.read(path).groups) == set(names)
    assert [each.name for each in tmp_path.iterdir()] == [report.FILE]


def test_measures_of_other_weights_are_dropped(tmp_path):
    path = tmp_path / report.FILE
    keep(path, "a", "prompts", 200, [measure()])
    assert keep(path, "b", "seeds", 2, [measure()])
    assert (report.read(path).weights, list(report.read(path).groups)) == ("b", ["seeds"])


def test_the_digest_is_of_the_weights_and_their_names_alone(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "README.md").write_text("another card")
    (copy / report.FILE).write_text("{}")
    assert report.digest(copy) == report.digest(tiny)
    encoder = copy / "gemma-3-tiny" / "model.safetensors"
    content = encoder.read_bytes()
    encoder.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert report.digest(copy) != report.digest(tiny)
    encoder.write_bytes(content)
    encoder.rename(encoder.with_name("other.safetensors"))
    assert report.digest(copy) != report.digest(tiny)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"weights": "a"}', '{"weights": "a", "groups": {"x": {"clips": 1}}}']
)
def test_a_file_that_is_no_report_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / report.FILE
    path.write_text(text)
    with pytest.raises(DamagedReport, match=r"measures\.json is no report"):
        report.begun(path, "a")
    assert path.read_text() == text
