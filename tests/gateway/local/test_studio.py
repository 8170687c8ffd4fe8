"""`ltx2 studio` as people start it: the embedded checkpoint makes clips through the gateway."""

import io
import os
import signal
import sqlite3
import sys

import av
import pytest

from tests.gateway.local.running import Studio, environment, gone

SECOND = {"prompt": "a red ball rolls left", "duration": 1, "seed": 7}
# Many steps: there is time to stop it.
LONG = {**SECOND, "mode": "pro", "duration": 5, "num_inference_steps": 100}


@pytest.fixture
def studios(tmp_path, tiny):
    """Starts a studio in one folder, again and again."""
    started = []

    def start(*options):
        options = options or ("--checkpoint", "tiny")
        made = Studio(tmp_path, environment(tmp_path, tiny), *options)
        started.append(made)
        return made

    yield start
    for each in started:
        each.close()


@pytest.mark.slow
def test_from_nothing_to_a_clip_and_on_after_a_restart(studios, tmp_path):
    studio = studios()
    assert "checkpoint tiny: " in studio.said()
    free = studio.credits()
    assert "free" in free["entries"][0]["note"]

    first = studio.create(**SECOND)
    done = studio.until(first, "completed", "failed")
    assert done["status"] == "completed", done
    video = studio.visitor.get(done["output"]["url"]).raise_for_status().content
    with av.open(io.BytesIO(video)) as played:
        frames = sum(1 for _ in played.decode(video=0))
    assert frames == done["output"]["num_frames"]
    assert studio.visitor.get(f"/api/generations/{first}/content?variant=thumbnail").content

    again = studio.create(**done["request"])
    other = studio.create(**LONG)
    assert studio.until(again, "completed")["output"]["sha256"] == done["output"]["sha256"]
    studio.until(other, "in_progress")
    studio.visitor.post(f"/api/generations/{other}/cancel").raise_for_status()
    assert studio.until(other, "canceled", "completed")["status"] == "canceled"

    left = studio.create(**LONG)
    studio.until(left, "in_progress")
    worker = studio.worker()
    assert studio.stop() == 0
    assert gone(worker)

    studio = studios()
    assert "1 video that was under way" in studio.said()
    listed = studio.visitor.get("/api/generations").json()["data"]
    assert [each["id"] for each in listed] == [left, other, again, first]
    studio.until(left, "in_progress")
    studio.visitor.post(f"/api/generations/{left}/cancel").raise_for_status()
    studio.until(left, "canceled")
    paid = 2 * done["cost"]["credits"]
    assert studio.credits()["available"] == free["available"] - paid
    studio.stop(signal.SIGINT)
    with sqlite3.connect(tmp_path / "ltx2-studio" / "gateway.db") as database:
        (good,) = database.execute(
            "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL"
        ).fetchone()
    assert good == 1  # that of the last start


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_a_worker_that_dies_ends_the_studio_with_a_sentence(studios):
    studio = studios()
    os.kill(studio.worker(), signal.SIGKILL)
    assert studio.process.wait(120) == 1
    assert "error: the worker has ended: signal 9 ended it (its log is" in studio.said()
    assert "Traceback" not in studio.said()


def test_weights_that_are_missing_are_a_sentence(studios):
    studio = studios("--checkpoint", "ltx-2")
    assert studio.process.wait(120) == 1
    assert studio.url == ""
    (said,) = [line for line in studio.said().splitlines() if line.startswith("error: ")]
    assert "the worker did not start: " in said
    assert "ltx2 download" in said
    assert "Traceback" not in studio.said()
