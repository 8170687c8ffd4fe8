"""Both stores keep the same promises: a folder, and a real S3 server."""

from pathlib import Path
from urllib.request import urlopen

import pytest

from gateway.stores import THUMBNAIL, StoreFailed
from gateway.stores.folder import FolderStore
from gateway.stores.s3 import S3Store
from ltx2.delivery.s3 import S3Store as WorkersStore
from ltx2.delivery.store import record
from ltx2.errors import ConfigError
from ltx2.media.upload import Times
from tests.gateway.fake_runpod import clip
from tests.gateway.house import House
from tests.worker.s3_server import config, serving_s3

# The server may be slow on a busy machine; how soon a store is given up is not tested here.
PATIENT = Times(reach=120.0, quiet=120.0, least=240.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real S3 server."""
    with serving_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """One of each kind, empty."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    server = request.getfixturevalue("server")
    return S3Store(config(server.url, prefix=f"t-{tmp_path.name}"), times=PATIENT)


@pytest.fixture
def video(tmp_path):
    """A video on disk."""
    path = tmp_path / "video.mp4"
    path.write_bytes(clip())
    return path


def result():
    return {"bytes": len(clip()), "sha256": "x", "video_url": "https://expired.example"}


def content_of(place):
    if isinstance(place, Path):
        return place.read_bytes()
    with urlopen(place) as answer:
        return answer.read()


def test_a_video_is_found_with_its_result_and_without_its_old_link(store, video):
    assert store.find("gen_1") is None
    store.keep("gen_1", video, result())
    found = store.find("gen_1")
    assert found["bytes"] == len(clip())
    assert "video_url" not in found
    assert content_of(store.video("gen_1", download_as="a.mp4")) == clip()
    assert store.find("gen_2") is None


def test_small_files_are_written_read_linked_and_deleted(store, video):
    assert store.get("gen_1", THUMBNAIL) is None
    assert store.file("gen_1", THUMBNAIL, download_as="a.jpg") is None
    store.put("gen_1", THUMBNAIL, b"still", "image/jpeg")
    store.put("gen_1", THUMBNAIL, b"another", "image/jpeg")
    store.keep("gen_1", video, result())
    assert store.get("gen_1", THUMBNAIL) == b"another"
    assert content_of(store.file("gen_1", THUMBNAIL, download_as="a.jpg")) == b"another"
    store.delete("gen_1")
    store.delete("gen_1")
    assert store.get("gen_1", THUMBNAIL) is None
    assert store.find("gen_1") is None
    store.check()


def test_a_name_never_leaves_the_store(store, video):
    store.put("../../escape", THUMBNAIL, b"x", "image/jpeg")
    assert store.get("../../escape", THUMBNAIL) == b"x"
    assert not (video.parent.parent / "escape").exists()


def test_a_folder_that_cannot_be_written_says_so_without_its_path(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreFailed) as failed:
        FolderStore(tmp_path / "store").check()
    assert str(tmp_path) not in str(failed.value)


def test_an_s3_store_that_is_away_says_so_without_its_address():
    with pytest.raises(StoreFailed) as failed:
        S3Store(config("http://127.0.0.1:9")).get("gen_1", THUMBNAIL)
    assert "127.0.0.1" not in str(failed.value)


def test_a_store_without_links_is_refused():
    with pytest.raises(ConfigError, match="links"):
        S3Store(config("https://s3api-eu-ro-1.runpod.io", host="s3api-eu-ro-1.runpod.io"))


def test_what_the_worker_delivered_is_taken_where_it_lies(server, database_url, tmp_path, video):
    settings = config(server.url, prefix=f"w-{tmp_path.name}")
    house = House(database_url, tmp_path, store=S3Store(settings, times=PATIENT))
    try:
        name, job = house.submit()
        made = house.runpod.result(job)
        WorkersStore(settings).put(name, video, record(made, "d"), stop=lambda: False)
        house.runpod.complete(job)
        house.later()
        assert house.see(name).status == "completed"
        assert not [call for call in house.runpod.calls if call.path.startswith("/files/")]
        link = house.desk.content(house.account, name, "video").url
        saved = house.desk.content(house.account, name, "video", download=True).url
        for place, kind in ((link, "inline"), (saved, "attachment")):
            with urlopen(place) as answer:
                assert answer.read() == clip()
                said = answer.headers["Content-Disposition"]
                assert said == f'{kind}; filename="{name}.mp4"'
        still = house.desk.content(house.account, name, "thumbnail").url
        assert content_of(still).startswith(b"\xff\xd8")
        house.desk.delete(house.account, name)
        assert [key for key in server.objects if name in key] == []
    finally:
        house.close()
