"""`ltx2 gateway serve` itself, with its loops and a real clock: killed where it hurts, and beside
another one.
"""

import os
import signal
import threading
from collections import Counter

import httpx
import pytest
from sqlalchemy import select

from gateway import ledger
from gateway.accounts import Accounts
from gateway.clock import SystemClock
from gateway.database import Database
from gateway.migrations import migrate
from gateway.tables import EventRow, GenerationRow, LedgerRow
from tests.gateway.api.receiver import Receiver
from tests.gateway.eventually import eventually
from tests.gateway.fake_runpod import FakeRunPod
from tests.gateway.house import COST, CREDITS, FORM
from tests.gateway.served import Served
from tests.worker.loopback import Reply

PATIENCE = 120  # seconds, on a busy machine


class Town:
    """A database with an account, its RunPod, and the servers on it."""

    def __init__(self, url, folder):
        self.url, self.folder = url, folder
        self.runpod = FakeRunPod()
        self.database = Database(url)
        migrate(self.database)
        accounts = Accounts(self.database, SystemClock())
        self.account = accounts.create("Ada").id
        accounts.grant(self.account, CREDITS, "welcome")
        self.key = accounts.new_key(self.account, "test").key
        self.servers = []

    def serve(self):
        server = Served(self.folder, self.url, self.runpod, self.key)
        self.servers.append(server)
        return server

    def row(self, name):
        with self.database.read() as session:
            return session.get_one(GenerationRow, name)

    def state(self, name):
        """State and attempts at one moment."""
        row = self.row(name)
        return row.state, row.attempts

    def event(self):
        with self.database.read() as session:
            return session.scalars(select(EventRow)).one()

    def check(self, *kinds, available, held):
        """Credits and states agree, and these are a generation's entries."""
        with self.database.read() as session:
            assert ledger.faults(session) == []
            assert ledger.balance(session, self.account) == (available, held)
            found = session.scalars(
                select(LedgerRow.kind)
                .where(LedgerRow.generation_id.is_not(None))
                .order_by(LedgerRow.id)
            )
            assert list(found) == list(kinds)

    def close(self):
        for each in self.servers:
            each.close()
        self.runpod.close()
        self.database.close()


@pytest.fixture
def town(database_url, tmp_path):
    made = Town(database_url, tmp_path)
    yield made
    made.close()


def until(holds):
    eventually(holds, PATIENCE)


@pytest.mark.slow
def test_one_video_outlives_every_kill_of_the_gateway(town):
    runpod = town.runpod
    receiver = Receiver(200, hold=threading.Event())
    with receiver.serving() as hook:
        # Between the hold and the submission: the platform takes nothing.
        # It asks for a while, so that the kill does not come in the middle of the next attempt.
        runpod.faults += [Reply(status=429, headers={"Retry-After": "15"})] * 1000
        server = town.serve()
        answer = server.client.post("/api/generations", json={**FORM, "webhook_url": hook})
        name = answer.json()["id"]
        until(lambda: town.state(name) == ("queued", 1))
        server.kill()
        assert runpod.jobs == []
        town.check("hold", available=CREDITS - COST, held=COST)

        # Between the submission and its answer: the platform has the job, and nobody knows.
        runpod.faults.clear()
        runpod.held[name] = threading.Event()
        server = town.serve()
        until(lambda: len(runpod.jobs) == 1)
        server.kill()
        runpod.held.pop(name).set()
        assert (town.row(name).state, town.row(name).job_id) == ("submitted", None)
        town.check("hold", available=CREDITS - COST, held=COST)

        # Between the video's end and its capture: it is being fetched.
        runpod.held[name] = threading.Event()
        runpod.complete(runpod.job(name))
        server = town.serve()
        server.hint(runpod.job(name))
        until(lambda: runpod.sent("GET", f"{name}.mp4") != [])
        server.kill()
        runpod.held.pop(name).set()
        assert (town.row(name).state, town.row(name).output) == ("submitted", None)
        town.check("hold", available=CREDITS - COST, held=COST)

        # Between the capture and the answer of the one who is told of it.
        server = town.serve()
        assert receiver.came.wait(PATIENCE)
        server.kill()
        town.check("hold", "capture", available=CREDITS - COST, held=0)
        assert town.event().state == "pending"

        # Nothing is left to do but to tell it again.
        receiver.hold.set()
        server = town.serve()
        assert server.see(name)["status"] == "completed"
        again = server.run("redeliver", town.event().id)
        assert again.returncode == 0, again.stderr
        until(lambda: town.event().state == "delivered")
        town.check("hold", "capture", available=CREDITS - COST, held=0)
        assert {got.headers["webhook-id"] for got in receiver.got} == {town.event().id}
        assert len(runpod.jobs) == 1


@pytest.fixture
def town_on_postgresql(postgres, tmp_path):
    server, template = postgres
    name = server.create(template)
    made = Town(server.url(name), tmp_path)
    yield made
    made.close()
    server.drop(name)


def loops_of(server):
    """The process of a server's loops, once it works."""
    until(lambda: server.client.get("/readyz").status_code == 200)
    (found,) = (each for each in server.children() if "spawn_main" in " ".join(each.cmdline()))
    return found


@pytest.mark.slow
def test_loops_whose_process_is_killed_begin_again(town_on_postgresql):
    town = town_on_postgresql
    server = town.serve()
    first = loops_of(server)
    assert server.client.get("/readyz").status_code == 200
    first.kill()
    until(lambda: server.client.get("/readyz").status_code == 503)
    name = server.client.post("/api/generations", json=FORM).json()["id"]  # nobody submits it yet
    until(lambda: server.client.get("/readyz").status_code == 200)
    assert loops_of(server).pid != first.pid
    town.runpod.automatic = 1
    until(lambda: server.see(name)["status"] == "completed")
    assert len(town.runpod.jobs) == 1
    town.check("hold", "capture", available=CREDITS - COST, held=0)
    assert "the process of the loops ended with -9; it begins again in 1 s" in server.said()


@pytest.mark.slow
def test_loops_whose_process_stands_still_are_not_ready(town_on_postgresql):
    server = town_on_postgresql.serve()
    loops = loops_of(server)
    loops.suspend()
    until(lambda: server.client.get("/readyz").status_code == 503)
    assert "ltx2_gateway_loops_alive 0.0" in server.client.get("/metrics").text
    loops.resume()
    until(lambda: server.client.get("/readyz").status_code == 200)
    assert loops_of(server).pid == loops.pid


@pytest.mark.slow
def test_what_the_loops_do_is_counted_where_it_is_asked_for(town_on_postgresql):
    town = town_on_postgresql
    town.runpod.automatic = 1
    server = town.serve()
    name = server.client.post("/api/generations", json=FORM).json()["id"]
    until(lambda: server.see(name)["status"] == "completed")
    numbers = server.client.get("/metrics").text
    assert 'ltx2_gateway_platform_calls_total{call="submit",outcome="ok"} 1.0' in numbers
    assert "ltx2_gateway_loops_alive 1.0" in numbers


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_loops_end_with_the_process_that_answers(town_on_postgresql, sent):
    server = town_on_postgresql.serve()
    loops = loops_of(server)
    server.process.send_signal(sent)
    assert server.process.wait(PATIENCE) == (-9 if sent == signal.SIGKILL else 0)
    loops.wait(60)
    assert "Traceback" not in server.said()


@pytest.mark.slow
def test_a_terminal_ends_both_processes_in_order(town_on_postgresql):
    server = town_on_postgresql.serve()
    loops_of(server)
    os.killpg(server.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.said()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_to_end_before_it_runs_ends_in_order(town, sent):
    server = town.serve()  # its address is known, and it does not answer yet
    server.process.send_signal(sent)
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.said()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_open_stream_of_events_is_ended_quietly(town, times):
    town.runpod.faults += [Reply(status=429)] * 1000
    server = town.serve()
    name = server.client.post("/api/generations", json=FORM).json()["id"]
    with server.client.stream("GET", f"/api/generations/{name}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        server.process.send_signal(signal.SIGINT)
        if times == 2:
            until(lambda: not answers(server))  # so that the first is known to have come
            server.process.send_signal(signal.SIGINT)
        with pytest.raises(httpx.HTTPError):
            list(lines)
        assert server.process.wait(PATIENCE) == 0
    assert '"level": "ERROR"' not in server.said()
    assert "Traceback" not in server.said()


def answers(server):
    """Whether the server takes new connections."""
    try:
        httpx.get(server.client.base_url.join("/livez"), trust_env=False, timeout=60)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.slow
def test_two_gateways_on_one_postgresql_make_each_video_once(town_on_postgresql):
    town = town_on_postgresql
    town.runpod.automatic = 3
    one, other = town.serve(), town.serve()
    # One that begins looks at all that goes on, also at what the other looks at just then, and a
    # video may be fetched by both: neither begins from here on.
    for each in (one, other):
        until(lambda each=each: each.client.get("/readyz").status_code == 200)
    made = [
        each.client.post("/api/generations", json=FORM).json()["id"] for each in (one, other) * 6
    ]
    for each in made:
        until(lambda each=each: other.see(each)["status"] == "completed")
    assert Counter(job.generation_id for job in town.runpod.jobs) == Counter(made)
    assert Counter(call.path for call in town.runpod.sent("GET", ".mp4")) == Counter(
        f"/files/{each}.mp4" for each in made
    )
    with town.database.read() as session:
        assert ledger.faults(session) == []
        assert ledger.balance(session, town.account) == (CREDITS - 12 * COST, 0)


@pytest.mark.slow
def test_a_second_gateway_on_sqlite_is_refused_until_the_first_has_ended(tmp_path):
    town = Town(f"sqlite:///{tmp_path / 'gateway.db'}", tmp_path)
    try:
        first = town.serve()
        second = first.run("serve", "--port", "0")
        assert (second.returncode, second.stdout) == (1, "")
        assert "SQLite is for one process" in second.stderr
        assert first.client.get("/readyz").status_code == 200
        first.kill()
        assert town.serve().client.get("/readyz").status_code == 200
    finally:
        town.close()
