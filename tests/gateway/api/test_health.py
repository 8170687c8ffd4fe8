"""Health under many callers: anybody may ask, so asking must not cost what other calls need."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from gateway.api import health
from gateway.api.health import LOOK_SECONDS
from gateway.metrics import Metrics
from gateway.stores.folder import FolderStore
from tests.gateway.api.serving import serving
from tests.gateway.api.site import Site
from tests.gateway.eventually import eventually

CALLERS = 60  # more than the threads that calls have together


class SlowStore(FolderStore):
    """A store whose check lasts until it is let go."""

    def __init__(self, folder):
        super().__init__(folder)
        self.checks = 0
        self.let_go = threading.Event()
        self.during = lambda: None

    def check(self):
        self.checks += 1
        self.during()
        assert self.let_go.wait(30)


@pytest.fixture
def store(tmp_path):
    made = SlowStore(tmp_path / "slow")
    yield made
    made.let_go.set()


@pytest.fixture
def site(tmp_path, database, store):
    made = Site(tmp_path, database=database, keeper=store)
    yield made
    store.let_go.set()
    made.close()


def test_many_callers_of_a_part_that_hangs_leave_the_threads_to_others(site, store):
    with serving(site) as address, contextlib.ExitStack() as held:
        parts = urlsplit(address)
        calls = [
            held.enter_context(socket.create_connection((parts.hostname, parts.port)))
            for _ in range(CALLERS)
        ]
        for call in calls:
            call.sendall(b"GET /api/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        eventually(lambda: store.checks == 1)
        assert httpx.get(f"{address}/readyz", timeout=3).status_code == 200
        store.let_go.set()
        for call in calls:
            call.settimeout(10)
            assert call.recv(64).startswith(b"HTTP/1.1 200")
        assert store.checks == 1


def test_a_look_that_takes_long_holds_from_its_end(site, store):
    now = 0.0

    def lasts():
        nonlocal now
        now += 3 * LOOK_SECONDS

    store.during = lasts
    store.let_go.set()
    client = parts_alone(site, clock=lambda: now)
    assert client.get("/api/health").status_code == 200
    assert client.get("/api/health").status_code == 200
    assert store.checks == 1
    now += LOOK_SECONDS
    client.get("/api/health")
    assert store.checks == 2


def test_a_caller_is_told_after_a_while_that_a_part_does_not_answer(site, store):
    answer = parts_alone(site, patience=0.01).get("/api/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded"
    assert answer.json()["fake"] is True
    assert "no answer" in answer.json()["checks"]["parts"]


def parts_alone(site, **given):
    """A client of the health routes alone."""
    app = FastAPI()
    front = site.core.front
    app.include_router(health.router(front, Metrics(), metrics_key=None, version="1", **given))
    return TestClient(app)
