"""What is shipped was measured: these very files, from enough clips, and every measure holds."""

import re

import pytest

from pipelines.tiny import WEIGHTS
from tests.rules.tree import ROOT
from tiny import world
from tiny.evaluate import prompts, report, steering, videos
from tiny.evaluate.__main__ import CLIPS, GROUPS, SHOTS, counted
from tiny.evaluate.measures import Measure, line

PAGE = (ROOT / "docs/tiny.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
READ = {move: [move] for move in world.CAMERAS}
DETAILED = [videos.Sharpened(regained=1.0, moved=0.0, gained=1.0, masked=0.0, like=30.0)]
ENLARGED = [
    videos.Enlarged(
        made=30.0, plain=dict.fromkeys(("bicubic", "repeated frames", "blended frames"), 20.0)
    )
]
# The measures of groups that can be judged without a clip, as this code judges.
JUDGED: dict[str, list[Measure]] = {
    "cameras": steering.judge_cameras(READ, [None]),
    "cameras-pro": steering.judge_cameras(READ, [None], mode="pro"),
    "detailer": videos.judge_detailer(DETAILED, DETAILED, DETAILED),
    "spatial": videos.judge_spatial(ENLARGED),
    "temporal": videos.judge_temporal(ENLARGED, [(1.0, 0.0)]),
}


@pytest.fixture(scope="module")
def shipped() -> report.Report:
    return report.read(WEIGHTS / report.FILE)


def test_the_measures_are_of_the_shipped_files(shipped):
    assert shipped.weights == report.digest(WEIGHTS)


@pytest.mark.parametrize("name", GROUPS)
def test_every_measure_of_a_group_holds_and_is_of_enough_clips(shipped, name):
    group = shipped.groups[name]
    assert group.clips >= counted(name, CLIPS, SHOTS)
    assert [line(measure) for measure in group.measures if not measure.holds] == []


def test_no_group_was_measured_that_the_command_does_not_know(shipped):
    assert set(shipped.groups) == set(GROUPS)


@pytest.mark.parametrize("name", JUDGED)
def test_a_group_was_judged_by_the_bounds_of_this_code(shipped, name):
    found = {measure.name: measure.least for measure in shipped.groups[name].measures}
    assert found == {measure.name: measure.least for measure in JUDGED[name]}


@pytest.mark.parametrize("name", ["prompts", "pro"])
def test_prompts_were_judged_by_the_bounds_of_this_code(shipped, name):
    measures = shipped.groups[name].measures
    assert {each.name.partition(" ")[0]: each.least for each in measures} == prompts.LEAST


def test_the_page_of_the_checkpoint_tells_numbers_that_were_measured(shipped):
    measures = [measure for group in shipped.groups.values() for measure in group.measures]
    table = PAGE.split("| asked | result | control |\n|-|-|-|\n")[1].split("\n\n")[0]
    told = [row.split("|")[2:4] for row in table.splitlines()]
    assert len(told) > 10
    for number in NUMBER.findall(" ".join(cell for row in told for cell in row)):
        places = len(number.partition(".")[2])
        near = 0.5 * 10**-places + 1e-9
        assert [
            measure.name
            for measure in measures
            for found in (measure.value, measure.control)
            if abs(found - float(number)) <= near
        ], f"{number} was not measured"
