"""A worker that runs another checkpoint than the gateway sells: nobody pays for its videos."""

import pytest

from gateway import transitions
from gateway.sold import ANOTHER
from tests.gateway.house import COST, CREDITS

TOLD = "the checkpoint ltx-2, and LTX2_GATEWAY_CHECKPOINT says ltx-2.3"


def cut(*_given, **_options):
    raise RuntimeError("the process ends here")


def made_by(house, checkpoint, **form):
    house.runpod.checkpoint = checkpoint
    name, job = house.submit(**form)
    house.runpod.complete(job)
    house.later()
    return name


def test_its_video_is_not_sold_and_the_operator_is_told_both_names(house, caplog):
    name = made_by(house, "ltx-2")
    failed = house.see(name).state
    assert failed.error == "api_error"
    assert failed.message == f"{ANOTHER} Your {COST} credits were returned."
    assert house.kinds(name) == ["hold", "release"]
    assert house.balance() == (CREDITS, 0)
    assert house.store.find(name) is None
    assert TOLD in house.row(name).worker_error
    assert [each.levelname for each in caplog.records if TOLD in each.getMessage()] == ["ERROR"]
    assert f"the last video was made by {TOLD}" in house.desk.health().checks["worker"]


def test_health_is_well_again_with_the_first_video_of_the_right_one(house):
    made_by(house, "ltx-2")
    right = made_by(house, "ltx-2.3")
    assert house.see(right).status == "completed"
    assert house.desk.health().checks["worker"] == "ok"
    assert house.kinds(right) == ["hold", "capture"]


def test_a_worker_that_does_not_say_is_believed(house):
    assert house.see(made_by(house, None)).status == "completed"
    assert house.desk.health().ok


@pytest.mark.parametrize("fate", ["lost", "cancelled"])
def test_what_is_found_in_the_store_is_judged_as_well(house, fate):
    house.runpod.checkpoint = "ltx-2"
    name, job = house.submit()
    house.keep(job)
    if fate == "cancelled":
        house.runpod.obeys = False
        house.desk.cancel(house.account, name)
    job.known = False
    house.later()
    assert house.see(name).status == ("failed" if fate == "lost" else "canceled")
    assert house.balance() == (CREDITS, 0)
    assert house.store.find(name) is None


def test_it_does_not_stay_in_the_store_whenever_the_gateway_ends(house, monkeypatch):
    house.runpod.checkpoint = "ltx-2"
    name, job = house.submit()
    house.runpod.complete(job)
    with monkeypatch.context() as ending:
        ending.setattr(transitions, "no_video", cut)
        house.later()
    assert house.store.find(name) is None
    house.restart()
    house.later()
    house.turn(1300)
    assert house.see(name).status == "failed"
    assert house.balance() == (CREDITS, 0)


def test_a_hint_for_what_failed_brings_no_video_of_another_model(house):
    name = made_by(house, "ltx-2")
    job = house.runpod.job(name)
    house.hint(job)
    house.later()
    assert house.see(name).output is None
    assert house.store.find(name) is None
