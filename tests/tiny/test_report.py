"""What is shipped was measured: these very files, from enough clips, and every measure holds."""

import pytest

from pipelines.tiny import WEIGHTS
from tiny import world
from tiny.evaluate import prompts, report, steering, videos
from tiny.evaluate.__main__ import CLIPS, GROUPS, SHOTS, counted
from tiny.evaluate.measures import Measure, line

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
