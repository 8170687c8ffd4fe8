"""Every preset's plan equals the file that was reviewed. After a wanted change: `make golden`."""

import json

import pytest

from pipelines.plan import Plan, RestorePlan
from tests.golden import videos
from tests.golden.cases import FOLDER, NAMES, file, plans, written


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_equals_its_golden_file(name):
    golden = json.loads(file(name).read_text(encoding="utf-8"))
    made = {case: plan.as_dict() for case, plan in plans(name).items()}
    assert sorted(golden) == sorted(made)
    for case, plan in made.items():
        assert plan == golden[case], f"{name}: {case}"


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_file_is_written_by_its_script(name):
    assert file(name).read_text(encoding="utf-8") == written(name)


def test_every_checkpoint_and_videos_have_a_golden_file_and_nothing_else_lies_there():
    expected = [*(f"{n}.json" for n in NAMES), videos.FILE.name]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_survives_json_and_keeps_its_id(name):
    for case, plan in plans(name).items():
        again = Plan.from_dict(json.loads(json.dumps(plan.as_dict())))
        assert again == plan, case
        assert again.id == plan.id


def test_no_two_golden_plans_share_an_id():
    ids = [plan.id for name in NAMES for plan in plans(name).values()]
    # On a real model the default size is 720p: those two plans are the same work.
    same = sum(name.startswith("ltx") for name in NAMES) * 4
    assert len(set(ids)) == len(ids) - same


def test_every_plan_of_a_video_equals_its_golden_file():
    golden = json.loads(videos.FILE.read_text(encoding="utf-8"))
    made = {case: plan.as_dict() for case, plan in videos.plans().items()}
    assert sorted(golden) == sorted(made)
    for case, plan in made.items():
        assert plan == golden[case], case
    assert videos.FILE.read_text(encoding="utf-8") == videos.written()


def test_a_plan_of_a_video_survives_json_and_has_an_id_of_its_own():
    made = videos.plans()
    for case, plan in made.items():
        again = RestorePlan.from_dict(json.loads(json.dumps(plan.as_dict())))
        assert (again, again.id) == (plan, plan.id), case
    assert len({plan.id for plan in made.values()}) == len(made)
