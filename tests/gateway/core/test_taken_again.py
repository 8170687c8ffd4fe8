"""gateway.local: what a worker had that is gone with all its jobs, as a studio starts again."""

from gateway.local import take_again
from tests.gateway.house import COST, CREDITS


def again(house):
    return take_again(house.core, house.store, house.clock.now())


def test_a_video_that_is_not_there_waits_anew_however_often_a_studio_ends(house):
    name, _ = house.submit()
    for _ in range(4):
        assert again(house) == 1
        assert house.see(name).status == "queued"
        house.turn()
    assert house.balance() == (CREDITS - COST, COST)


def test_a_video_that_the_worker_finished_is_not_begun_again(house):
    name, job = house.submit()
    house.keep(job)
    assert again(house) == 0
    assert house.row(name).state == "submitted"
    assert house.balance() == (CREDITS - COST, COST)
