"""Delivery to S3: against a real server that checks signatures, and against one that fails."""

import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from ltx2.delivery.s3 import S3Store
from ltx2.delivery.store import StoreMisconfigured
from ltx2.errors import Cancelled, DeadlineExceeded, DeliveryFailed
from ltx2.media.upload import Times
from tests.worker.double import Answer, doubling, error, stop_after
from tests.worker.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, config, serving_s3

MIB = 2**20
IMPATIENT = Times(quiet=0.6, least=5.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def video(tmp_path):
    return clip(tmp_path)


def clip(folder, size=300_000):
    file = folder / "made.mp4"
    file.write_bytes(bytes(range(256)) * (size // 256) + b"e" * (size % 256))
    return file


def never():
    return False


def metadata(video, sha="a"):
    return {"result": {"bytes": video.stat().st_size, "seed": 7}, "request_sha256": sha}


def store_at(url, pauses=(0.01, 0.01, 0.01), times=None, part=64 * MIB, **changes):
    return S3Store(config(url, **changes), pauses=pauses, times=times, part=part)


def put(store, video, name="job-1", stop=never):
    store.put(name, video, metadata(video), stop=stop)


def failure(store, video, kind=DeliveryFailed):
    """The sentence of a failed upload; it holds no secret and nothing of the server's own words."""
    with pytest.raises(kind) as caught:
        put(store, video)
    sentence = str(caught.value)
    for secret in (SECRET_KEY, ACCESS_KEY, "secret words", "Signature=", "127.0.0.1"):
        assert secret not in sentence
    return sentence


def fetched(url):
    """What a browser gets: the body and its type, or the status of a refusal."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, None


def test_a_clip_comes_back_byte_for_byte_by_its_link(server, video):
    store = store_at(server.url, prefix="made")
    put(store, video, "a job / 1")
    link = store.link("a job / 1")
    assert fetched(link) == (video.read_bytes(), "video/mp4")
    folder = "made/a%20job%20%2F%201"
    written = server.objects
    assert written[f"{folder}/video.mp4"] == video.read_bytes()
    assert json.loads(written[f"{folder}/metadata.json"]) == metadata(video)
    assert store.find("a job / 1") == metadata(video)
    assert SECRET_KEY not in link


def test_the_server_that_is_tested_against_checks_what_it_is_sent(server, video):
    """Else the other tests would show less than they seem to."""
    store = store_at(server.url)
    put(store, video, "checked")
    link = store.link("checked")
    for bad in (link[:-4] + "0000", link.partition("?")[0]):
        assert fetched(bad)[0] in (400, 403)
    wrong = store_at(server.url, secret_key="another key")
    assert "secret key" in failure(wrong, video, StoreMisconfigured)
    with pytest.raises(StoreMisconfigured, match="does not know the access key"):
        put(store_at(server.url, access_key="nobody-knows-it"), video)
    with pytest.raises(StoreMisconfigured, match="no such bucket"):
        put(store_at(server.url, bucket="missing"), video)


def test_a_link_ends_when_it_should(server, video):
    store = store_at(server.url, link_seconds=1)
    put(store, video, "short")
    link = store.link("short")
    time.sleep(2.1)
    assert fetched(link)[0] in (400, 403)  # 403 on AWS
    assert fetched(store.link("short"))[0] == video.read_bytes()


def test_a_large_clip_goes_in_parts(server, tmp_path):
    video = clip(tmp_path, 12 * MIB + 5)
    store = store_at(server.url, part=5 * MIB)
    put(store, video, "large")
    body, content_type = fetched(store.link("large"))
    assert hashlib.sha256(body).digest() == hashlib.sha256(video.read_bytes()).digest()
    assert content_type == "video/mp4"
    assert store.find("large") is not None


def test_a_clip_that_was_stored_is_replaced_by_the_same_id(server, tmp_path):
    store = store_at(server.url)
    put(store, clip(tmp_path, 1000), "again")
    video = clip(tmp_path, 2000)
    put(store, video, "again")
    assert fetched(store.link("again"))[0] == video.read_bytes()


def test_nothing_is_found_where_nothing_is_whole(server, video):
    store = store_at(server.url)
    assert store.find("never-made") is None
    put(store, video, "whole")
    folder = server.folder / BUCKET / "whole"
    (folder / "video.mp4").write_bytes(b"half")
    time.sleep(1.1)  # the server looks at its folder once a second
    assert store.find("whole") is None
    (folder / "video.mp4").write_bytes(video.read_bytes())
    (folder / "metadata.json").write_text('{"result": {"bytes": NaN}, "request_sha256": "a"}')
    time.sleep(1.1)
    assert store.find("whole") is None


def test_a_stored_clip_can_be_fetched_to_a_file(server, video, tmp_path):
    store = store_at(server.url)
    put(store, video, "fetched")
    into = tmp_path / "again.mp4"
    store.fetch("fetched", into, stop=never)
    assert into.read_bytes() == video.read_bytes()
    with pytest.raises(DeliveryFailed, match="no longer"):
        store.fetch("never-made", into, stop=never)


def test_a_check_tells_good_keys_from_bad_ones(server):
    store_at(server.url).check()
    with pytest.raises(StoreMisconfigured):
        store_at(server.url, secret_key="another key").check()
    with pytest.raises(StoreMisconfigured):
        store_at(server.url, bucket="missing").check()


def test_a_public_address_is_the_link_where_there_is_one():
    store = store_at("http://127.0.0.1:1", public_url="https://cdn.example.com/c", prefix="p")
    assert store.link("a b") == "https://cdn.example.com/c/p/a%2520b/video.mp4"


def test_a_store_without_links_gives_a_key_and_no_dead_link():
    host = "s3api-eu-ro-1.runpod.io"
    store = store_at(f"https://{host}", host=host, bucket="abc123", region="EU-RO-1")
    assert store.link("job-1") == "s3://abc123/job-1/video.mp4"
    assert not store.config.signs_links


def test_the_record_is_written_last_and_only_for_a_clip_that_is_there(video):
    with doubling() as double:
        put(store_at(double.url), video)
    order = [(asked.method, asked.path.rpartition("/")[2]) for asked in double.asked]
    assert order == [("PUT", "video.mp4"), ("HEAD", "video.mp4"), ("PUT", "metadata.json")]
    first = double.asked[0]
    assert first.headers["Content-Type"] == "video/mp4"
    assert "x-amz-acl" not in {name.lower() for name in first.headers}
    assert "chunked" not in str(first.headers)
    assert first.headers["X-Amz-Content-SHA256"] == hashlib.sha256(video.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "failures",
    [
        [Answer(status=500), error(503, "SlowDown"), error(400, "RequestTimeout")],
        [Answer(read=1000), Answer(read=0), Answer(status=429)],
    ],
    ids=["errors of the server", "a line that breaks"],
)
def test_what_may_pass_is_tried_again_with_the_whole_clip(failures, video):
    with doubling(PUT=failures) as double:
        put(store_at(double.url), video)
        assert double.objects["/clips/job-1/video.mp4"][0] == video.read_bytes()
        assert double.count("PUT") == 5


def test_a_store_that_goes_on_failing_is_given_up_with_what_it_answered(video):
    with doubling(PUT=[error(503, "SlowDown") for _ in range(9)]) as double:
        assert "answered 503 SlowDown, 4 times" in failure(store_at(double.url), video)
        assert double.count("PUT") == 4
        assert double.objects == {}


@pytest.mark.parametrize(
    ("answer", "words", "kind"),
    [
        (error(403, "AccessDenied"), "leave to read and write", StoreMisconfigured),
        (error(403, "InvalidAccessKeyId"), "does not know the access key", StoreMisconfigured),
        (error(403, "SignatureDoesNotMatch"), "the region", StoreMisconfigured),
        (error(404, "NoSuchBucket"), "no such bucket", StoreMisconfigured),
        (error(403, "RequestTimeTooSkewed"), "clock", StoreMisconfigured),
        (Answer(status=403, body=b"<html>secret words"), "refuses (403)", StoreMisconfigured),
        (error(400, "EntityTooLarge"), "refuses (400 EntityTooLarge)", DeliveryFailed),
        (error(400, "secret words"), "refuses (400)", DeliveryFailed),
    ],
)  # fmt: skip
def test_a_refusal_is_not_repeated_and_says_what_to_look_at(answer, words, kind, video):
    with doubling(PUT=[answer]) as double:
        assert words in failure(store_at(double.url), video, kind)
        assert double.count("PUT") == 1


def test_a_clip_that_arrives_with_another_size_is_a_failure_and_gets_no_record(video):
    short = Answer(headers={"Content-Length": "299999", "Content-Type": "video/mp4"})
    with doubling(HEAD=[short]) as double:
        assert "has 299,999 bytes of a clip of 300,000" in failure(store_at(double.url), video)
        assert not any("metadata.json" in key for key in double.objects)


def test_a_clip_that_arrives_as_another_type_is_a_failure(video):
    plain = Answer(headers={"Content-Length": "300000", "Content-Type": "text/plain"})
    with doubling(HEAD=[plain]) as double:
        assert "'text/plain', not video/mp4" in failure(store_at(double.url), video)


def test_a_redirect_is_not_followed(video):
    with doubling() as elsewhere:
        away = Answer(status=302, headers={"Location": elsewhere.url + "/clips/job-1/video.mp4"})
        with doubling(PUT=[away]) as double:
            assert "302" in failure(store_at(double.url), video)
        assert elsewhere.asked == []


def test_a_server_that_falls_silent_is_given_up_in_time(video):
    with doubling(PUT=[Answer(hang_s=30.0)]) as double:
        began = time.monotonic()
        said = failure(store_at(double.url, pauses=(), times=IMPATIENT), video)
    assert "nothing moved for 0.6 s" in said
    assert time.monotonic() - began < 5


def test_a_clip_that_stands_still_ends_when_its_job_is_stopped(video):
    with doubling(PUT=[Answer(hang_s=30.0)]) as double:
        store = store_at(double.url)
        began = time.monotonic()
        with pytest.raises(Cancelled, match="handed over"):
            put(store, video, stop=stop_after(0.3))
    assert time.monotonic() - began < 5


def test_a_stop_between_two_attempts_ends_them(video):
    with doubling(PUT=[Answer(status=500)] * 4) as double:
        with pytest.raises(Cancelled):
            put(store_at(double.url, pauses=(60.0,)), video, stop=stop_after(0.3))
        assert double.count("PUT") == 1


def test_what_the_question_raises_itself_comes_out(video):
    def late():
        raise DeadlineExceeded("the time is up")

    with doubling() as double, pytest.raises(DeadlineExceeded, match="the time is up"):
        put(store_at(double.url), video, stop=late)


def test_parts_are_called_off_when_one_fails(tmp_path):
    video = clip(tmp_path, 12 * MIB)
    begun = Answer(body=b"<R><UploadId>u1</UploadId></R>")
    with doubling(POST=[begun], PUT=[Answer(headers={"ETag": '"1"'}), error(400, "No")]) as double:
        failure(store_at(double.url, part=5 * MIB), video)
        last = double.asked[-1]
    assert last.method == "DELETE"
    assert "uploadId=u1" in last.path


def test_a_completion_whose_answer_was_lost_counts_if_the_clip_is_there(tmp_path):
    video = clip(tmp_path, 12 * MIB)
    begun = Answer(body=b"<R><UploadId>u1</UploadId></R>")
    whole = Answer(
        headers={"Content-Length": str(video.stat().st_size), "Content-Type": "video/mp4"}
    )
    answers = [begun, Answer(status=500), error(404, "NoSuchUpload")]
    with doubling(POST=answers, HEAD=[whole]) as double:
        put(store_at(double.url, part=5 * MIB), video)
        assert any("metadata.json" in key for key in double.objects)
        assert double.count("DELETE") == 0


@pytest.mark.parametrize(
    "refused",
    [
        Answer(status=301, headers={"x-amz-bucket-region": "eu-west-1"}),
        error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
    ],
    ids=["301", "400"],
)
def test_a_region_that_was_only_a_guess_is_learnt_from_the_store(refused, video):
    with doubling(PUT=[refused]) as double:
        store = store_at(double.url, region_known=False)
        put(store, video)
        assert double.objects["/clips/job-1/video.mp4"][0] == video.read_bytes()
        signed = [asked.headers["Authorization"] for asked in double.asked]
    assert "/us-east-1/s3/" in signed[0]
    assert all("/eu-west-1/s3/" in each for each in signed[1:])
    assert "eu-west-1" in store.link("job-1")


def test_a_region_that_was_set_wrong_is_named(video):
    refused = error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    with doubling(PUT=[refused]) as double:
        said = failure(store_at(double.url), video, StoreMisconfigured)
        assert double.count("PUT") == 1
    assert "is in the region eu-west-1, not in us-east-1" in said


def test_a_record_that_never_ends_is_no_record(video):
    with doubling() as double:
        store = store_at(double.url)
        put(store, video)
        double.objects["/clips/job-1/metadata.json"] = (b" " * 3 * MIB + b"{}", "application/json")
        assert store.find("job-1") is None


def test_a_stopped_upload_in_parts_does_not_wait_for_a_silent_store(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ltx2.delivery.s3.CALL_OFF_S", 2.0
    )  # for the call to come on a busy machine
    video = clip(tmp_path, 12 * MIB)
    begun = Answer(body=b"<R><UploadId>u1</UploadId></R>")
    silent = [Answer(hang_s=30.0)]
    with doubling(POST=[begun], PUT=silent, DELETE=silent) as double:
        store = store_at(double.url, part=5 * MIB)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            put(store, video, stop=stop_after(0.5))
        assert double.count("DELETE") == 1
    assert time.monotonic() - began < 15  # of the 30 that the store is silent


def test_keys_that_may_not_list_find_nothing_instead_of_failing(caplog):
    with doubling(GET=[error(403, "AccessDenied")]) as double:
        assert store_at(double.url).find("job-1") is None
    assert "may not list" in caplog.text


def test_a_stranger_cannot_send_a_clip_to_a_private_address(video):
    with doubling() as double:
        port = double.server_address[1]
        store = store_at(double.url, allow_private=False, pauses=())
        assert "port 80 or 443" in failure(store, video, StoreMisconfigured)
        store = store_at("https://127.0.0.1", allow_private=False, pauses=())
        with pytest.raises(StoreMisconfigured, match="public address"):
            put(store, video)
        assert double.asked == [], port


def test_the_connection_goes_to_the_number_that_was_checked(video, monkeypatch):
    """And the bucket goes into the host where that is asked for."""
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(host, *rest, **options):
        if str(host).endswith("store.example"):
            asked.append(host)
            host = "127.0.0.1"
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with doubling(PUT=[]) as double:
        port = double.server_address[1]
        store = store_at(f"http://store.example:{port}", virtual=True)
        put(store, video)
        assert {request.headers["Host"] for request in double.asked} == {
            f"clips.store.example:{port}"
        }
        assert double.asked[0].path == "/job-1/video.mp4"
    assert asked == ["clips.store.example"] * 3


def test_a_store_leaves_no_thread_behind(server, video):
    store = store_at(server.url)
    put(store, video, "threads")
    before = set(threading.enumerate())
    for _ in range(3):
        put(store, video, "threads")
    assert set(threading.enumerate()) <= before


def test_an_answer_that_lacks_what_s3_says_is_a_failure_in_words(tmp_path):
    """A stranger's server may answer anything to an upload in parts."""
    whole = b"<?xml version='1.0'?><InitiateMultipartUploadResult/>"
    with doubling(POST=[Answer(body=whole)] * 2) as double:
        said = failure(store_at(double.url, pauses=(0.01,), part=MIB), clip(tmp_path, 2 * MIB))
    assert "the store answers what is not S3 (no 'UploadId')" in said
