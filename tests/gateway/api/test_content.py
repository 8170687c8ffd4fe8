"""The file of a generation: whole, in parts, its thumbnail, or a link to the store."""

import hashlib

import pytest

from gateway.app import media_hosts
from tests.gateway.api.site import Site, refused
from tests.gateway.fake_runpod import clip

SIZE = len(clip())


@pytest.fixture
def done(site):
    return f"/api/generations/{site.finished()}/content"


def test_the_video_is_the_one_that_was_made(client, done):
    answer = client.get(done)
    assert answer.status_code == 200
    assert answer.content == clip()
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].startswith('inline; filename="gen_')
    assert answer.headers["etag"] == f'"{hashlib.sha256(clip()).hexdigest()}"'


def test_a_download_is_saved_under_its_name(client, done):
    name = done.split("/")[3]
    answer = client.get(done, params={"download": "true"})
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.mp4"'


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, SIZE - 1), ("bytes=-50", SIZE - 50, SIZE - 1),
     (f"bytes=10-{SIZE + 5}", 10, SIZE - 1)],
)  # fmt: skip
def test_a_part_is_given_as_it_was_asked_for(client, done, asked, first, last):
    answer = client.get(done, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.content == clip()[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "nonsense"])
def test_a_range_that_cannot_be_read_gives_the_whole(client, done, asked):
    answer = client.get(done, headers={"range": asked})
    assert answer.status_code == 200
    assert answer.content == clip()


def test_a_part_behind_the_end_is_refused_with_the_length(client, done):
    answer = client.get(done, headers={"range": f"bytes={SIZE}-"})
    refused(answer, 416, "invalid_request_error")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


def test_what_is_known_already_is_not_sent_again(client, done):
    tag = client.get(done).headers["etag"]
    again = client.get(done, headers={"if-none-match": f'"x", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    part = client.get(done, headers={"range": "bytes=0-9", "if-range": tag})
    assert part.status_code == 206
    other = client.get(done, headers={"range": "bytes=0-9", "if-range": '"other"'})
    assert (other.status_code, len(other.content)) == (200, SIZE)


def test_a_head_says_the_same_without_the_file(client, done):
    answer = client.head(done)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(SIZE)
    part = client.head(done, headers={"range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


def test_the_thumbnail_is_a_jpeg(client, done):
    answer = client.get(done, params={"variant": "thumbnail"})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content[:2] == b"\xff\xd8"
    other = client.get(done, params={"variant": "sprite"})
    assert refused(other, 400, "invalid_request_error")["param"] == "variant"


def test_there_is_no_file_before_the_end_nor_after_a_failure(site, client):
    name, job = site.started()
    path = f"/api/generations/{name}/content"
    assert "not there yet" in refused(client.get(path), 409, "conflict_error")["message"]
    site.runpod.fail(job, "INTERNAL: no")
    site.turn(90)
    assert "no video" in refused(client.get(path), 409, "conflict_error")["message"]


def test_a_video_that_came_too_late_is_offered_for_free(site, client):
    name, job = site.started()
    site.turn(8000)
    assert site.see(name)["status"] == "failed"
    site.runpod.complete(job)
    hint = client.post(f"/webhooks/runpod/{job.token}", json=job.body())
    assert hint.json() == {"received": True}
    site.turn(1)
    late = site.see(name)
    assert (late["status"], late["cost"]["state"]) == ("failed", "released")
    assert client.get(late["urls"]["content"]).content == clip()


def test_a_file_that_is_gone_is_not_there(site, client, done):
    name = done.split("/")[3]
    site.core.store.delete(name)
    refused(client.get(done), 404, "not_found_error")


class Bucket:
    """A store that gives links, as S3 does."""

    def __init__(self, kept):
        self.kept = kept

    def __getattr__(self, name):
        return getattr(self.kept, name)

    def video(self, generation_id, *, download_as, attach=False):
        kind = "attachment" if attach else "inline"
        return f"https://bucket.example/{generation_id}/video.mp4?as={kind}&name={download_as}"


def test_a_store_with_links_is_linked_to(tmp_path, database):
    from gateway.stores.folder import FolderStore

    store = Bucket(FolderStore(tmp_path / "store"))
    assert media_hosts(store) == ("https://bucket.example",)
    site = Site(tmp_path, database=database, keeper=store)
    try:
        name = site.finished()
        answer = site.client.get(f"/api/generations/{name}/content")
        assert answer.status_code == 307
        link = f"https://bucket.example/{name}/video.mp4"
        assert answer.headers["location"] == f"{link}?as=inline&name={name}.mp4"
        assert answer.headers["cache-control"] == "no-store"
        for path in (
            f"/api/generations/{name}/content?download=true",
            f"/v1/videos/{name}/content",
        ):
            saved = site.client.get(path).headers["location"]
            assert saved == f"{link}?as=attachment&name={name}.mp4"
    finally:
        site.close()
