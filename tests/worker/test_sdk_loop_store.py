"""Delivery under the SDK's loop: a worker with a store of its own, which fails and comes back."""

import hashlib
import signal
import urllib.request
from typing import Any

import pytest

from tests.worker.double import doubling, error
from tests.worker.job_taking import platform, worker

CLIP = {"prompt": "a boat", "width": 64, "height": 64, "num_frames": 9}
LARGE = {"prompt": "a ship", "width": 256, "height": 256, "num_frames": 17}
INLINE_BYTES = 15_000  # between the two


def settings(store) -> dict[str, Any]:
    return {
        "LTX2_INLINE_BYTES": str(INLINE_BYTES),
        "BUCKET_ENDPOINT_URL": store.url,
        "BUCKET_NAME": "clips",
        "BUCKET_ACCESS_KEY_ID": "id-of-the-store",
        "BUCKET_SECRET_ACCESS_KEY": "secret-of-the-store",
    }


def fetched(output):
    """The clip that an answer links to, once it is the one that was made."""
    with urllib.request.urlopen(output["video_url"], timeout=20) as answer:
        data = answer.read()
    assert hashlib.sha256(data).hexdigest() == output["sha256"]
    assert len(data) == output["bytes"]
    return data


@pytest.mark.slow
def test_no_clip_is_lost_by_a_store_that_fails_or_a_worker_that_dies(tiny, tmp_path):
    with doubling() as store, platform() as double:
        environ = settings(store)
        with worker(double, tmp_path, tiny, **environ) as process:
            # What is too large for the answer is uploaded, also where base64 was asked for.
            double.give("large", {**LARGE, "output": "base64"})
            output = double.answer("large")["output"]
            assert "video" not in output
            assert len(fetched(output)) > INLINE_BYTES
            assert "uploaded" in " ".join(output["warnings"])

            # The store refuses: a small clip goes another way, a large one is an error.
            store.script["PUT"] = [error(403, "AccessDenied") for _ in range(100)]
            double.give("small", CLIP)
            output = double.answer("small")["output"]
            assert output["video"]
            assert "base64" in " ".join(output["warnings"])
            double.give("lost", {**LARGE, "generation_id": "kept"})
            failed = double.answer("lost")
            assert failed["error"].startswith("DELIVERY_FAILED: ")
            assert "generation_id 'kept'" in failed["error"]
            assert "video" not in failed.get("output", {})

            # The store is busy, and a job is stopped between two attempts: nothing is posted, and
            # the next job is done.
            store.script["PUT"] = [error(503, "SlowDown") for _ in range(100)]
            double.give("tired", {**LARGE, "generation_id": "tired"})
            double.wait(lambda: process.said("sound took", "tired"))
            tried = store.count("PUT")
            double.wait(lambda: store.count("PUT") > tried)
            double.stop("tired")
            double.wait(lambda: "tired | Job stopped." in process.text())
            double.give("next", {**CLIP, "output": "base64"})
            assert double.answer("next")["output"]["video"]
            assert double.answers("tired") == []
            process.end(signal.SIGKILL)

        # Another process on the same disk answers from what was kept, without making it again.
        store.script["PUT"] = []
        with worker(double, tmp_path, tiny, **environ) as process:
            for job, generation_id in (("found", "kept"), ("revived", "tired")):
                double.give(job, {**LARGE, "generation_id": generation_id})
                fetched(double.answer(job)["output"])
                assert process.said("finished already", job)
                assert not process.said("base took", job)
            log = process.text()
        assert "secret-of-the-store" not in log
        assert "X-Amz-Signature=" not in log
