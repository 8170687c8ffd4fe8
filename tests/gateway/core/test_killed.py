"""A process that is killed without warning loses no credits and no video. Real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway import dying
from tests.gateway.fake_runpod import FakeRunPod
from tests.gateway.house import COST, CREDITS, FORM, House

ROOT = Path(__file__).resolve().parents[3]
HOLD, NOTE, SENT, VIDEO, INSIDE, CAPTURED = dying.MOMENTS


@pytest.fixture
def runpod():
    """An endpoint whose jobs end by themselves."""
    fake = FakeRunPod(automatic=2)
    yield fake
    fake.close()


def killed(database_url, folder, runpod, moment):
    """What is left of a gateway that died."""
    command = [sys.executable, "-m", "tests.gateway.dying", database_url, str(folder), runpod.url,
               runpod.key, moment]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    house = House(database_url, folder, runpod=runpod)
    house.check()
    house.clock.move(500)
    house.core.reconciler.check_all()
    return house


@pytest.mark.parametrize("moment", dying.MOMENTS)
def test_a_killed_gateway_goes_on_where_it_was(database_url, tmp_path, runpod, moment):
    house = killed(database_url, tmp_path, runpod, moment)
    try:
        (made,) = house.desk.generations(house.account).items
        for _ in range(6):
            house.later()
        assert house.see(made.id).status == "completed"
        assert house.kinds(made.id) == ["hold", "capture"]
        assert house.balance() == (CREDITS - COST, 0)
        # The call that was never answered is made again, and finds its own generation.
        assert house.desk.create(house.account, FORM, "the key").id == made.id
        assert len(house.desk.generations(house.account).items) == 1
        assert {job.generation_id for job in runpod.jobs} == {made.id}
    finally:
        house.core.close()


@pytest.mark.parametrize(
    ("moment", "status", "jobs"),
    [(HOLD, "queued", 0), (NOTE, "queued", 0), (SENT, "queued", 1), (VIDEO, "in_progress", 1),
     (INSIDE, "in_progress", 1), (CAPTURED, "completed", 1)],
)  # fmt: skip
def test_what_is_left_is_one_state_and_its_credits(
    database_url, tmp_path, runpod, moment, status, jobs
):
    house = killed(database_url, tmp_path, runpod, moment)
    try:
        (made,) = house.desk.generations(house.account).items
        assert (made.status, len(runpod.jobs)) == (status, jobs)
        held = 0 if status == "completed" else COST
        assert house.balance() == (CREDITS - COST, held)
    finally:
        house.core.close()
