"""gateway.local: what a worker had that is gone with all its jobs, as a studio starts again."""

from gateway.local import put_down, take_again
from gateway.transitions import CUT_OFF, MOST_CUT_OFF
from tests.gateway.house import COST, CREDITS


def again(house):
    """A studio starts anew on the same data: how many wait anew, and which are given up."""
    house.restart()
    taken = take_again(house.core, house.clock.now())
    house.check()
    return taken.again, taken.given_up


def begun(house, name):
    """The worker is at a video that waited, and the gateway has seen it."""
    house.turn()
    house.runpod.run(house.runpod.job(name))
    house.later()
    assert house.see(name).status == "in_progress"


def test_a_video_that_is_not_there_waits_anew_however_often_a_studio_ends(house):
    name, _ = house.submit()
    for _ in range(MOST_CUT_OFF + 1):
        assert again(house) == (1, ())
        assert house.see(name).status == "queued"
        house.turn()
    assert house.balance() == (CREDITS - COST, COST)


def test_a_video_that_three_workers_ended_with_is_given_up_and_costs_nothing(house):
    waits, runs = house.create().id, house.create().id
    for _ in range(MOST_CUT_OFF - 1):
        begun(house, runs)
        assert again(house) == (2, ())
        assert house.see(runs).status == "queued"
    begun(house, runs)
    assert again(house) == (1, (runs,))
    failed = house.see(runs).state
    assert (failed.error, failed.message) == (
        "api_error",
        f"{CUT_OFF} Your {COST} credits were returned.",
    )
    assert house.kinds(runs) == ["hold", "release"]
    assert house.see(waits).status == "queued"
    assert house.balance() == (CREDITS - COST, COST)
    assert again(house) == (0, ())  # it is told once; what waits was not with the worker


def test_an_end_in_order_is_not_counted_against_the_video_that_is_being_made(house):
    name = house.create().id
    for _ in range(MOST_CUT_OFF + 1):
        begun(house, name)
        house.core.close()
        put_down(house.core)
        assert again(house) == (1, ())
    assert house.row(name).cut_off == 0
    assert house.balance() == (CREDITS - COST, COST)


def test_waiting_between_does_not_clear_the_count(house):
    name = house.create().id
    for _ in range(MOST_CUT_OFF - 1):
        begun(house, name)
        assert again(house) == (1, ())
        house.turn()
        assert again(house) == (1, ())  # only waited
    assert house.row(name).cut_off == MOST_CUT_OFF - 1
    begun(house, name)
    assert again(house) == (0, (name,))


def test_a_video_that_the_worker_finished_is_not_begun_again(house):
    name, job = house.submit()
    house.keep(job)
    assert again(house) == (0, ())
    assert house.row(name).state == "submitted"
    assert house.balance() == (CREDITS - COST, COST)
