"""A process that is killed without warning loses no credits and no video. Real processes."""

import multiprocessing

import pytest

from tests.gateway import dying
from tests.gateway.fake_runpod import FakeRunPod
from tests.gateway.house import COST, CREDITS, FORM, House

HOLD, NOTE, SENT, VIDEO, INSIDE, CAPTURED = dying.MOMENTS


@pytest.fixture
def runpod():
    """An endpoint whose jobs end by themselves."""
    fake = FakeRunPod(automatic=2)
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def processes():
    """Makes processes out of one that has loaded the gateway and begun nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([dying.__name__])
    return context


def killed(processes, database_url, folder, runpod, moment):
    """What is left of a gateway that died."""
    arguments = (database_url, str(folder), runpod.url, runpod.key, moment)
    process = processes.Process(target=dying.live_until, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -9
    house = House(database_url, folder, runpod=runpod)
    house.check()
    return house


@pytest.mark.parametrize(
    ("moment", "status", "jobs", "in_all"),
    [(HOLD, "queued", 0, 1), (NOTE, "queued", 0, 1), (SENT, "queued", 1, 2),
     (VIDEO, "in_progress", 1, 1), (INSIDE, "in_progress", 1, 1), (CAPTURED, "completed", 1, 1)],
)  # fmt: skip
def test_a_killed_gateway_left_one_state_and_goes_on_from_there(
    processes, database_url, tmp_path, runpod, moment, status, jobs, in_all
):
    house = killed(processes, database_url, tmp_path, runpod, moment)
    try:
        (made,) = house.desk.generations(house.account).items
        assert (made.status, len(runpod.jobs)) == (status, jobs)
        assert house.balance() == (CREDITS - COST, 0 if status == "completed" else COST)
        house.clock.move(500)
        house.core.reconciler.check_all()
        for _ in range(6):
            house.later()
        assert house.see(made.id).status == "completed"
        assert house.kinds(made.id) == ["hold", "capture"]
        assert house.balance() == (CREDITS - COST, 0)
        # The call that was never answered is made again, and finds its own generation.
        assert house.desk.create(house.account, FORM, "the key").id == made.id
        assert len(house.desk.generations(house.account).items) == 1
        # Only what nobody knew to be sent is sent again, under the same id.
        assert [job.generation_id for job in runpod.jobs] == [made.id] * in_all
    finally:
        house.core.close()
