"""A video that comes after we gave up is kept, for nothing. Both databases."""

from tests.gateway.house import CREDITS
from tests.worker.loopback import Reply


def test_a_video_that_comes_after_we_gave_up_is_kept_for_nothing(house):
    name, job = house.submit()
    house.runpod.obeys = False
    house.runpod.run(job)
    house.later()
    house.turn(7330)
    assert house.see(name).state.late is None
    house.runpod.complete(job)
    house.hint(job)
    house.turn()
    late = house.see(name)
    assert late.status == "failed"
    assert late.output is not None
    assert house.kinds(name) == ["hold", "release"]
    assert house.balance() == (CREDITS, 0)


def given_up(house):
    """A generation that had its time, and its job, which runs on."""
    name, job = house.submit()
    house.runpod.obeys = False
    house.runpod.run(job)
    house.later()
    house.turn(7330)
    assert house.see(name).status == "failed"
    return name, job


def test_a_late_video_is_looked_for_again_where_the_platform_does_not_answer(house):
    name, job = given_up(house)
    house.runpod.complete(job)
    house.runpod.faults += [Reply(status=500), Reply(status=429)]
    house.hint(job)
    for _ in range(3):
        assert house.see(name).output is None
        house.turn(20)
    assert house.see(name).output is not None
    assert house.kinds(name) == ["hold", "release"]


def test_a_late_video_is_looked_for_again_whatever_went_wrong(house, monkeypatch):
    name, job = given_up(house)
    house.runpod.complete(job)
    house.hint(job)

    def broken(_name):
        raise RuntimeError("nobody thought of this")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "find", broken)
        house.turn()
    assert house.see(name).output is None
    house.turn(20)
    assert house.see(name).output is not None


def test_a_late_video_of_what_was_deleted_is_not_kept(house):
    name, job = given_up(house)
    house.desk.delete(house.account, name)
    house.runpod.complete(job)
    house.hint(job)
    house.later()
    assert house.store.find(name) is None
