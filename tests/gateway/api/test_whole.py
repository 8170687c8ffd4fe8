"""The app as it is served, with its loops and a real clock: a video from the click to the end."""

import json

import pytest
from starlette.testclient import TestClient

from gateway.clock import SystemClock
from gateway.webhooks.outgoing import signing
from tests.gateway.api.receiver import Receiver
from tests.gateway.api.site import COST, FORM, Site
from tests.gateway.fake_runpod import clip
from tests.gateway.house import CREDITS


@pytest.fixture
def site(tmp_path, database):
    made = Site(tmp_path, database=database, clock=SystemClock(), automatic=3, poll_seconds=0.1)
    yield made
    made.runpod.close()


def test_a_video_is_made_followed_told_of_and_paid_for(site):
    receiver = Receiver(200)
    headers = {"authorization": f"Bearer {site.key}"}
    with (
        receiver.serving() as hook,
        TestClient(site.app, base_url="https://gateway.example", headers=headers) as client,
    ):
        made = client.post("/api/generations", json={**FORM, "webhook_url": hook}).json()
        # The stream ends with the generation: nothing here waits by the clock.
        told = client.get(made["urls"]["events"]).text
        last = json.loads(told.strip().rpartition("data: ")[2])
        assert last["status"] == "completed"
        assert last["cost"] == {"credits": COST, "state": "captured", "price_version": "2026-12-03"}
        assert client.get(last["output"]["url"]).content == clip()
        assert client.get("/api/credits").json()["available"] == CREDITS - COST
        assert receiver.came.wait(30)
        assert client.get("/api/health").json()["status"] == "ok"
    (got,) = receiver.got
    secret = site.secret()
    now = SystemClock().now().timestamp()
    signing.verify(secret, got.headers, got.body, now=now)
    assert json.loads(got.body)["data"]["id"] == made["id"]
    assert not site.core.works.alive
