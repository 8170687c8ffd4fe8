"""The way of a finished clip to its caller: every choice, every failure, and nothing lost."""

import base64
import errno
import hashlib
import json
import logging
import os
import time

import pytest

from ltx2.delivery.kept import Kept
from ltx2.delivery.outbox import IdTaken, Outbox
from ltx2.delivery.presigned import put_to
from ltx2.delivery.s3 import S3Store
from ltx2.errors import BadRequest, Cancelled, ConfigError, DeadlineExceeded, DeliveryFailed
from tests.worker.double import Answer, doubling, error, stop_after
from tests.worker.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, serving_s3
from tests.worker.test_delivery_s3 import clip, fetched, never, store_at

SIZE = 300_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


class Box:
    """An outbox with the clip of one job."""

    def __init__(self, folder, *, store=None, kept=2**30, inline=SIZE):
        self.folder = folder
        self.video = clip(folder, SIZE)
        self.data = self.video.read_bytes()
        self.outbox = Outbox(
            store=store,
            kept=Kept(folder / "kept", kept),
            inline_bytes=inline,
            allow_private=True,
            open_store=lambda config: S3Store(config, pauses=()),
            put=lambda *given, **options: put_to(*given, pauses=(), **options),
        )

    def route(self, output="auto", s3_config=None, upload_url=None):
        return self.outbox.route(output, s3_config, upload_url)

    def deliver(self, name="job-1", *, sha="a", stop=never, cancelled=None, **way):
        """The answer to a job; it can be sent, holds no secret and says where the clip is."""
        facts = {
            "bytes": SIZE,
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "seed": 7,
            "warnings": ["as planned"],
            "generation_id": name,
        }
        answer = self.outbox.deliver(
            self.route(**way),
            name,
            self.video,
            facts,
            request_sha256=sha,
            stop=stop,
            cancelled=cancelled,
        )
        return self.checked(answer)

    def earlier(self, name="job-1", *, sha="a", stop=never, **way):
        answer = self.outbox.earlier(self.route(**way), name, sha, stop=stop)
        return None if answer is None else self.checked(answer)

    def checked(self, answer):
        text = json.dumps(answer, allow_nan=False)
        assert SECRET_KEY not in text
        assert ("video" in answer) != ("video_url" in answer)
        assert (answer["bytes"], answer["seed"]) == (SIZE, 7)
        if "video" in answer:
            assert base64.b64decode(answer["video"], validate=True) == self.data
        return answer

    def failed(self, kind=DeliveryFailed, **way):
        with pytest.raises(kind) as caught:
            self.deliver(**way)
        assert SECRET_KEY not in str(caught.value)
        return str(caught.value)


def job_store(url):
    return {
        "accessId": ACCESS_KEY,
        "accessSecret": SECRET_KEY,
        "bucketName": BUCKET,
        "endpointUrl": url,
    }


def test_a_clip_that_fits_is_answered_as_base64_where_there_is_no_store(tmp_path):
    answer = Box(tmp_path).deliver()
    assert "video" in answer
    assert answer["warnings"] == ["as planned"]


def test_a_store_gets_the_clip_and_the_answer_a_link(tmp_path, server):
    box = Box(tmp_path, store=store_at(server.url), inline=0)
    for output in ("auto", "url"):
        answer = box.deliver(f"linked-{output}", output=output)
        assert fetched(answer["video_url"]) == (box.data, "video/mp4")
        assert answer["warnings"] == ["as planned"]


def test_base64_is_answered_though_there_is_a_store(tmp_path, server):
    answer = Box(tmp_path, store=store_at(server.url)).deliver("inline", output="base64")
    assert "video" in answer
    assert not any(key.startswith("inline/") for key in server.objects)


def test_base64_over_the_budget_is_uploaded_with_a_warning(tmp_path, server):
    box = Box(tmp_path, store=store_at(server.url), inline=SIZE - 1)
    answer = box.deliver("over", output="base64")
    assert fetched(answer["video_url"])[0] == box.data
    assert "300,000 bytes, and base64 is answered for up to 299,999" in answer["warnings"][1]


@pytest.mark.parametrize("output", ["auto", "base64"])
def test_over_the_budget_without_a_store_is_an_error_with_size_limit_and_remedy(tmp_path, output):
    said = Box(tmp_path, inline=SIZE - 1).failed(output=output)
    for words in ("300,000", "299,999", "BUCKET_ENDPOINT_URL", "upload_url", "'job-1'"):
        assert words in said


def test_a_url_without_any_store_is_refused_before_the_clip_is_made(tmp_path):
    with pytest.raises(ConfigError, match="output url needs a store"):
        Box(tmp_path).route(output="url")


def test_the_store_of_a_job_is_taken_before_the_worker_s_own(tmp_path, server):
    with doubling() as own:
        box = Box(tmp_path, store=store_at(own.url), inline=0)
        answer = box.deliver("brought", s3_config=job_store(server.url))
        assert fetched(answer["video_url"])[0] == box.data
        assert own.asked == []


def test_the_caller_s_url_is_taken_before_every_store(tmp_path, server):
    with doubling() as caller:
        box = Box(tmp_path, store=store_at(server.url))
        answer = box.deliver("put", upload_url=f"{caller.url}/c.mp4?X-Signature=secret")
        assert answer["video_url"] == f"{caller.url}/c.mp4"
        assert caller.objects["/c.mp4"] == (box.data, "video/mp4")
    assert not any(key.startswith("put/") for key in server.objects)


def test_everything_that_is_wrong_with_the_way_is_said_at_once(tmp_path):
    bad = {"endpointUrl": "ftp://x", "accessSecret": "hush"}
    with pytest.raises(BadRequest) as caught:
        Box(tmp_path).route(output="url", s3_config=bad, upload_url="file:///etc/passwd")
    said = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "s3Config.accessId" in said
    assert "upload_url must come by http" in said
    assert "hush" not in said


def test_addresses_of_strangers_are_checked_before_the_clip_is_made(tmp_path):
    outbox = Outbox(store=None, kept=Kept(tmp_path, 0), inline_bytes=0, allow_private=False)
    inside = {**job_store("https://10.0.0.1"), "bucketName": "clips"}
    with pytest.raises(BadRequest, match=r"s3Config\.endpointUrl.*public address"):
        outbox.route("auto", inside, None)
    with pytest.raises(BadRequest, match=r"upload_url.*public address"):
        outbox.route("auto", None, "http://169.254.169.254/latest/meta-data")


def test_an_upload_that_fails_is_answered_as_base64_with_the_reason(tmp_path, caplog):
    with doubling(PUT=[error(503, "SlowDown")]) as double:
        answer = Box(tmp_path, store=store_at(double.url, pauses=())).deliver()
    assert "video" in answer
    assert answer["warnings"][1].startswith("sent as base64 because the store answered 503")
    assert "503" in caplog.text


@pytest.mark.parametrize("output", ["url", "auto"])
def test_an_upload_that_fails_loses_nothing(tmp_path, output):
    """The same job again is answered with the clip that was made, once the store works."""
    with doubling(PUT=[error(503, "SlowDown")]) as double:
        box = Box(tmp_path, store=store_at(double.url, pauses=()), inline=0)
        said = box.failed(output=output)
        assert "answered 503 SlowDown" in said
        assert "generation_id 'job-1' is answered with it" in said
        box.video.unlink()
        answer = box.earlier(output=output)
        assert double.objects["/clips/job-1/video.mp4"][0] == box.data
        assert "/clips/job-1/metadata.json" in double.objects
        assert answer["video_url"].startswith(f"{double.url}/clips/job-1/video.mp4?")
        assert answer["warnings"] == ["as planned"]


def test_a_clip_that_was_not_kept_is_not_promised(tmp_path):
    with doubling(PUT=[error(503, "SlowDown")]) as double:
        box = Box(tmp_path, store=store_at(double.url, pauses=()), kept=0)
        said = box.failed(output="url")
    assert "could not be kept" in said
    assert "is answered with it" not in said
    assert box.earlier() is None


def test_a_disk_that_refuses_does_not_stop_a_delivery(tmp_path, server, caplog):
    (tmp_path / "kept").write_text("no folder")
    box = Box(tmp_path, store=store_at(server.url))
    assert fetched(box.deliver("no-disk")["video_url"])[0] == box.data
    assert "cannot be kept on disk" in caplog.text


def test_the_caller_s_url_that_fails_is_no_loss_either(tmp_path):
    with doubling(PUT=[Answer(status=403)] * 2) as double:
        way = {"upload_url": f"{double.url}/c?key=secret"}
        answer = Box(tmp_path).deliver(**way)
        assert "upload_url refuses the clip (403)" in answer["warnings"][1]
        assert "secret" not in json.dumps(answer)
        said = Box(tmp_path, inline=0).failed(**way)
        assert "secret" not in said
        assert "is answered with it" in said


@pytest.mark.parametrize("way", ["store", "upload_url"])
def test_a_stop_while_the_clip_goes_out_is_a_stop_and_the_clip_is_kept(tmp_path, way):
    with doubling(PUT=[Answer(hang_s=30.0)]) as double:
        store = store_at(double.url) if way == "store" else None
        box = Box(tmp_path, store=store)
        more = {} if way == "store" else {"upload_url": f"{double.url}/c"}
        began = time.monotonic()
        with pytest.raises(Cancelled):
            box.deliver(stop=stop_after(0.3), **more)
    assert time.monotonic() - began < 5
    assert box.earlier(output="base64") is not None


def too_late():
    raise DeadlineExceeded("the time is up")


def test_a_clip_that_is_finished_too_late_to_upload_is_kept_and_answered_if_it_can_be(tmp_path):
    with doubling() as double:
        box = Box(tmp_path, store=store_at(double.url))
        answer = box.deliver("late", stop=too_late, cancelled=never)
        assert "sent as base64 because the time is up" in answer["warnings"][1]
        said = box.failed(
            DeadlineExceeded, name="url", output="url", stop=too_late, cancelled=never
        )
        assert "the time is up; the clip is kept on this worker" in said
        assert not double.asked
    for name in ("late", "url"):
        assert Box(tmp_path).earlier(name, output="base64") is not None


def test_a_clip_is_kept_on_another_disk_however_late_it_is(tmp_path, monkeypatch):
    def no_second_name(*_names):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", no_second_name)
    box = Box(tmp_path, inline=0)
    box.failed(name="copied", stop=too_late, cancelled=never)
    assert box.outbox.kept.find("copied") is not None


def test_a_repeated_id_is_answered_from_the_store_with_a_new_link(tmp_path, server):
    """On another worker, whose disk knows nothing of the clip."""
    (tmp_path / "other").mkdir()
    first = Box(tmp_path, store=store_at(server.url)).deliver("twice")
    box = Box(tmp_path / "other", store=store_at(server.url))
    again = box.earlier("twice")
    assert fetched(again["video_url"])[0] == box.data
    assert {**again, "video_url": ""} == {**first, "video_url": ""}


def test_a_repeated_id_is_answered_as_it_asks_this_time(tmp_path, server):
    (tmp_path / "other").mkdir()
    Box(tmp_path, store=store_at(server.url)).deliver("otherwise")
    box = Box(tmp_path / "other", store=store_at(server.url))
    assert "video" in box.earlier("otherwise", output="base64")
    with doubling() as caller:
        answer = box.earlier("otherwise", upload_url=f"{caller.url}/c?x")
        assert answer["video_url"] == f"{caller.url}/c"
        assert caller.objects["/c"][0] == box.data


def test_a_repeated_id_without_a_store_is_answered_from_the_disk(tmp_path):
    box = Box(tmp_path)
    first = box.deliver("disk")
    box.video.unlink()
    assert box.earlier("disk") == first
    assert box.earlier("never-made") is None


def test_what_is_only_on_disk_goes_to_the_store_when_it_is_asked_for_again(tmp_path, server):
    box = Box(tmp_path)
    box.deliver("late")
    box.outbox.store = store_at(server.url)
    assert fetched(box.earlier("late")["video_url"])[0] == box.data
    assert {"late/video.mp4", "late/metadata.json"} <= set(server.objects)


def test_a_kept_clip_that_was_damaged_is_not_handed_over(tmp_path):
    box = Box(tmp_path)
    box.deliver("rotten")
    kept = box.outbox.kept.path("rotten")
    kept.unlink()  # the other name of the file
    kept.write_bytes(box.data[:-1] + b"?")
    assert box.earlier("rotten") is None


def test_a_stored_clip_that_was_damaged_is_not_handed_over(tmp_path, server):
    (tmp_path / "other").mkdir()
    Box(tmp_path, store=store_at(server.url)).deliver("rotting")
    file = server.folder / BUCKET / "rotting" / "video.mp4"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    box = Box(tmp_path / "other", store=store_at(server.url))
    time.sleep(1.1)  # the server looks at its folder once a second
    assert box.earlier("rotting", output="base64") is None


@pytest.mark.parametrize("place", ["store", "disk"])
def test_an_id_that_another_request_has_is_refused(tmp_path, server, place):
    box = Box(tmp_path, store=store_at(server.url) if place == "store" else None)
    box.deliver("taken-é", sha="a")
    with pytest.raises(IdTaken, match=r"'taken-\\xe9' was used for another request"):
        box.earlier("taken-é", sha="b")
    assert box.earlier("taken-é", sha="a") is not None


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
def test_an_id_that_cannot_be_a_key_is_refused_before_the_clip_is_made(tmp_path, name):
    with pytest.raises(BadRequest, match="generation_id"):
        Box(tmp_path).earlier(name)


@pytest.mark.parametrize(
    ("brought", "kind"), [(False, ConfigError), (True, BadRequest)], ids=["own", "brought"]
)
def test_a_store_with_wrong_keys_is_refused_before_the_clip_is_made(
    tmp_path, server, brought, kind
):
    store = None if brought else store_at(server.url, secret_key="wrong")
    bad = {**job_store(server.url), "accessSecret": "wrong"} if brought else None
    with pytest.raises(kind, match="secret key"):
        Box(tmp_path, store=store).earlier(s3_config=bad)


def test_a_store_that_is_down_is_waited_for_only_where_it_is_the_only_way(tmp_path, caplog):
    with doubling(GET=[Answer(status=500)] * 9) as double:
        box = Box(tmp_path, store=store_at(double.url, pauses=()))
        with pytest.raises(DeliveryFailed, match="answered 500"):
            box.earlier(output="url")
        assert box.earlier(output="auto") is None
        assert box.earlier(output="base64") is None
        assert "video" in box.deliver(output="base64")


def test_a_stored_record_cannot_fail_a_job_or_end_a_worker(tmp_path):
    """It may lie in a stranger's bucket."""
    with doubling() as double:
        video = b"v" * 5
        result = {"bytes": 5, "refresh_worker": True, "error": "x", "video": "AA", "seed": 7}
        text = json.dumps({"result": result, "request_sha256": "a"}).encode()
        double.objects["/clips/job-1/video.mp4"] = (video, "video/mp4")
        double.objects["/clips/job-1/metadata.json"] = (text, "application/json")
        outbox = Box(tmp_path).outbox
        answer = outbox.earlier(outbox.route("auto", job_store(double.url), None), "job-1", "a")
    assert set(answer) == {"bytes", "seed", "warnings", "video_url"}


def test_a_store_without_links_says_that_it_gives_a_key(tmp_path):
    with doubling() as double:
        store = store_at(double.url, host="s3api-eu-ro-1.runpod.io")
        answer = Box(tmp_path, store=store, inline=0).deliver()
    assert answer["video_url"] == "s3://clips/job-1/video.mp4"
    assert "makes no links" in answer["warnings"][1]


def test_nothing_secret_is_logged(tmp_path, server, caplog):
    caplog.set_level(logging.DEBUG)
    box = Box(tmp_path, store=store_at(server.url))
    box.deliver("logged")
    box.earlier("logged")
    with doubling(PUT=[Answer(status=500)]) as double:
        box.deliver("logged", upload_url=f"{double.url}/c?X-Signature=hush")
    messages = [record.getMessage() for record in caplog.records]
    assert messages
    for secret in (SECRET_KEY, "hush", "X-Amz-Signature"):
        assert not any(secret in message for message in messages)


def test_the_kind_of_store_is_told(tmp_path, server):
    assert Box(tmp_path).outbox.store_kind == "none"
    assert Box(tmp_path, store=store_at(server.url)).outbox.store_kind == "s3"
