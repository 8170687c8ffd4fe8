"""What is shipped was measured: these very files, from enough clips, and every measure holds."""

import pytest

from pipelines.tiny import WEIGHTS
from tiny.evaluate import report
from tiny.evaluate.__main__ import CLIPS, GROUPS, SHOTS, counted
from tiny.evaluate.measures import line


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
