"""A generation's events: the whole first, every change, and the end of the stream at its end."""

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

from gateway.api import events
from gateway.refusals import NotFound
from gateway.states import Cancelled, Generation, Progress, Queued, Running
from tests.gateway.api.site import refused

NOW = datetime(2026, 12, 2, 9, tzinfo=UTC)
FIRST = Generation(
    id="gen_1", account_id="acc_1", created_at=NOW, form={"prompt": "rain"}, credits=10,
    price_version="1", favourite=False, state=Queued(position=1), queue_ms=None,
    execution_ms=None, version=1,
)  # fmt: skip


def running(version, percent):
    progress = Progress(seq=version, phase="generate", step=1, steps=8, percent=percent)
    return replace(FIRST, state=Running(since=NOW, progress=progress), version=version)


def ended(version):
    return replace(FIRST, state=Cancelled(at=NOW, began=None), version=version)


def read(text):
    """The events of a stream's text: kind, number and data of each."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "event" in fields:
            found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return found


def streamed(first, *looks, comment_seconds=1000.0):
    """The text of a stream whose looks find these, one after the other."""
    rest = list(looks)

    def look():
        found = rest.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def all_of_it():
        stream = events.stream(first, look, look_seconds=0.001, comment_seconds=comment_seconds)
        return b"".join([line async for line in stream]).decode()

    return asyncio.run(all_of_it())


def test_what_has_ended_is_told_once():
    text = streamed(ended(7))
    assert text.startswith("retry: 3000\n\n")
    ((kind, number, data),) = read(text)
    assert (kind, number, data["status"]) == ("generation", 7, "canceled")


def test_changes_are_told_and_the_end_with_everything():
    text = streamed(FIRST, FIRST, running(2, 10), running(2, 10), running(3, 55), ended(4))
    found = read(text)
    assert [(kind, number) for kind, number, _ in found] == [
        ("generation", 1), ("progress", 2), ("progress", 3), ("generation", 4),
    ]  # fmt: skip
    assert [data["progress"]["percent"] for _, _, data in found[1:3]] == [10, 55]
    assert "cost" in found[0][2]
    assert "cost" not in found[1][2]


def test_a_step_forward_in_the_queue_is_told():
    def at(position, version=1):
        return replace(FIRST, state=Queued(position=position), version=version)

    found = read(streamed(at(3), at(3), at(2), at(2), at(1), ended(2)))
    places = [data["progress"]["queue_position"] for _, _, data in found[:-1]]
    assert places == [3, 2, 1]


def test_a_quiet_line_is_kept_open_by_comments():
    text = streamed(FIRST, FIRST, FIRST, FIRST, ended(2), comment_seconds=0.002)
    assert ": still here\n\n" in text
    assert [number for _, number, _ in read(text)] == [1, 2]


def test_what_is_deleted_meanwhile_ends_the_stream():
    found = read(streamed(running(3, 1), NotFound("gone")))
    assert found[-1] == ("deleted", 4, {"id": "gen_1"})


def test_the_route_streams_to_the_end(site, client):
    name, job = site.started()
    site.runpod.complete(job)
    began = threading.Event()

    def end():
        began.wait(10)
        site.turn(90)

    thread = threading.Thread(target=end)
    thread.start()
    with client.stream("GET", f"/api/generations/{name}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        began.set()
        text = "".join(answer.iter_text())
    thread.join()
    found = read(text)
    assert found[0][2]["status"] == "queued"
    assert found[-1][2]["status"] == "completed"
    assert b"ltx2_gateway_event_streams 0.0" in site.app.state.guards.metrics.text()


def test_a_stream_of_what_has_ended_closes_at_once(site, client):
    answer = client.get(f"/api/generations/{site.finished()}/events")
    ((kind, _, data),) = read(answer.text)
    assert (kind, data["status"]) == ("generation", "completed")


def test_a_stream_of_nothing_is_not_there(client):
    refused(client.get("/api/generations/gen_0/events"), 404, "not_found_error")
