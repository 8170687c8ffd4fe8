"""A real worker behind a real gateway, each in a process of its own: webhooks that are lost or come
twice, cancels, and deaths of the gateway and of the studio while a video is made.
"""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from sqlalchemy import select

from gateway import ledger
from gateway.accounts import Accounts
from gateway.clock import SystemClock
from gateway.database import Database
from gateway.tables import LedgerRow
from tests.gateway.eventually import eventually
from tests.gateway.local.relay import Relay, Worker
from tests.gateway.local.running import PATIENCE, Studio, environment, gone
from tests.gateway.served import Served

CREDITS = 500
SECOND = {"prompt": "a red ball rolls left", "duration": 1, "seed": 7}
# A second or two: there is time to end what waits for it.
WHILE = {**SECOND, "mode": "pro", "num_inference_steps": 20}
# Minutes, if nobody ended it.
LONG = {**WHILE, "duration": 5, "num_inference_steps": 100}


class Town:
    """A gateway over the worker, its database, and an account."""

    def __init__(self, folder, database_url, relay):
        self.folder, self.url, self.relay = folder, database_url, relay
        self.database = Database(database_url)
        accounts = Accounts(self.database, SystemClock())
        self.account = accounts.create("Ada").id
        accounts.grant(self.account, CREDITS, "welcome")
        self.key = accounts.new_key(self.account, "test").key
        self.serve()

    def serve(self):
        self.server = Served(
            self.folder,
            self.url,
            self.relay,
            self.key,
            LTX2_GATEWAY_CHECKPOINT="tiny",
            LTX2_GATEWAY_CALLS_PER_MINUTE="1000000",
        )
        self.relay.gateway = str(self.server.client.base_url).rstrip("/")
        self.relay.hooks = 1

    def create(self, form):
        answer = self.server.client.post("/api/generations", json=form)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def until(self, name, *statuses):
        def holds():
            found.append(self.server.see(name))
            return found[-1]["status"] in statuses

        found = []
        eventually(holds, PATIENCE)
        return found[-1]

    def video(self, done):
        """The file's checksum, as it comes from the gateway."""
        answer = self.server.client.get(done["output"]["url"]).raise_for_status()
        return hashlib.sha256(answer.content).hexdigest()

    def entries(self, name):
        """What the ledger has of a generation."""
        with self.database.read() as session:
            query = select(LedgerRow.kind).where(LedgerRow.generation_id == name)
            return list(session.scalars(query.order_by(LedgerRow.id)))

    def check(self):
        """The operator's own look: everything agrees."""
        said = self.server.run("doctor", "--json")
        assert json.loads(said.stdout) == {
            "ok": True,
            "checks": {"ledger": [], "worker": [], "store": []},
        }
        assert said.returncode == 0

    def balance(self):
        with self.database.read() as session:
            return ledger.balance(session, self.account)

    def close(self):
        self.server.close()
        self.database.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("worker")
    made = Worker(folder, environment(folder, tiny))
    yield made
    made.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def town(request, worker, sqlite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    relay = Relay(worker.url)
    if request.param == "sqlite":
        shutil.copyfile(sqlite, folder / "gateway.db")
        url = f"sqlite:///{folder}/gateway.db"
    else:
        server, template = request.getfixturevalue("postgres")
        url = server.url(server.create(template))
    made = Town(folder, url, relay)
    yield made
    made.close()
    relay.close()


@pytest.mark.slow
def test_a_webhook_that_is_lost_costs_no_video_and_one_that_is_doubled_no_credits(town):
    sums = []
    for hooks in (0, 2):
        town.relay.hooks, before = hooks, len(town.relay.told)
        done = town.until(name := town.create(SECOND), "completed", "failed")
        assert done["status"] == "completed", done
        eventually(lambda: len(town.relay.sent("POST", hook_of(town, name))) == 1, PATIENCE)
        eventually(lambda end=before + hooks: len(town.relay.told) == end, PATIENCE)
        sums.append(town.video(done))
        assert sums[-1] == done["output"]["sha256"]
        assert len(town.relay.jobs(name)) == 1
        assert town.entries(name) == ["hold", "capture"]
    town.check()
    assert set(town.relay.told) <= {200}
    assert sums[0] == sums[1]


def hook_of(town, name):
    """The path of a generation's webhook."""
    runs = [each.body for each in town.relay.sent("POST", "/run")]
    (url,) = [each["webhook"] for each in runs if each["input"].get("generation_id") == name]
    return url.rpartition("/")[2]


@pytest.mark.slow
def test_a_cancel_stops_the_worker_and_gives_the_credits_back(town):
    before = town.balance()
    name = town.create(LONG)
    town.until(name, "in_progress")
    assert town.balance() != before
    town.server.client.post(f"/api/generations/{name}/cancel").raise_for_status()
    assert town.until(name, "canceled", "completed")["status"] == "canceled"
    assert town.balance() == before
    (job,) = town.relay.jobs(name)
    eventually(lambda: town.relay.status(job) == "CANCELLED", PATIENCE)
    assert town.entries(name) == ["hold", "release"]
    town.check()
    # The worker is free: the next video does not wait for what the other would have taken.
    assert town.until(town.create(SECOND), "completed", "failed")["status"] == "completed"


@pytest.mark.slow
def test_a_gateway_that_is_killed_finds_its_video_and_takes_its_price_once(town):
    name = town.create(WHILE)
    town.until(name, "in_progress")
    town.server.kill()
    town.serve()
    done = town.until(name, "completed", "failed")
    assert done["status"] == "completed", done
    assert town.video(done) == done["output"]["sha256"]
    assert len(town.relay.jobs(name)) == 1
    assert town.entries(name) == ["hold", "capture"]
    town.check()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_a_studio_that_is_killed_makes_its_video_at_the_next_start_and_takes_its_price_once(
    tmp_path, tiny
):
    variables = environment(tmp_path, tiny)
    studio = Studio(tmp_path, variables, "--checkpoint", "tiny")
    try:
        name = studio.create(**WHILE)
        studio.until(name, "in_progress")
        worker = studio.worker()
        studio.process.kill()
        studio.process.wait(PATIENCE)
        assert gone(worker)  # nor does its job go on
    finally:
        studio.close()
    studio = Studio(tmp_path, variables, "--checkpoint", "tiny")
    try:
        assert "1 video that was under way" in studio.said()
        done = studio.until(name, "completed", "failed")
        assert done["status"] == "completed", done
        assert len(studio.visitor.get(done["output"]["url"]).content) == done["output"]["bytes"]
        entries = studio.visitor.get("/api/credits/ledger").json()["data"]
        kinds = [each["kind"] for each in entries if each["generation_id"] == name]
        assert kinds == ["capture", "hold"]
        said = subprocess.run(
            Served.command("doctor", "--json"),
            env={**variables, "LTX2_GATEWAY_FOLDER": str(tmp_path / "ltx2-studio"),
                 "LTX2_GATEWAY_WORKER": studio.url},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # Its worker is its own secret; the rest is looked at.
        checks = json.loads(said.stdout)["checks"]
        assert (checks["ledger"], checks["store"]) == ([], [])
    finally:
        studio.close()
