"""gateway.local: what a worker had that is gone with all its jobs, as a studio starts again."""

from gateway.local import MOST_BEGUN, take_again
from tests.gateway.house import COST, CREDITS


def again(house):
    return take_again(house.core, house.store, house.clock.now())


def test_a_video_is_begun_again_and_given_up_where_nothing_outlives_it(house):
    name, _ = house.submit()
    for _ in range(MOST_BEGUN - 1):
        assert again(house) == 1
        assert house.see(name).status == "queued"
        house.turn()
    assert len(house.runpod.jobs) == MOST_BEGUN
    assert again(house) == 0
    seen = house.see(name)
    assert seen.status == "failed"
    assert "ended each time" in seen.state.message
    assert house.balance() == (CREDITS, 0)
    assert again(house) == 0


def test_a_video_that_the_worker_finished_is_not_begun_again(house):
    name, job = house.submit()
    house.keep(job)
    assert again(house) == 0
    assert house.row(name).state == "submitted"
    assert house.balance() == (CREDITS - COST, COST)
