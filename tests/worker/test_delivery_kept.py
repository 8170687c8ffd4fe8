"""Clips kept on disk: whole or not at all, the oldest gone first, shared by processes."""

import json
import multiprocessing
import os
import time

import pytest

from ltx2.delivery.kept import STALE_SECONDS, Kept
from ltx2.delivery.keys import segment
from ltx2.errors import Cancelled, DeliveryFailed


def never():
    return False


def keep(kept, name, size=1000, folder=None, sha="a", stop=never, age=None):
    """Keep a clip of `size` bytes, made `age` seconds ago."""
    video = (folder or kept.folder.parent) / f"made-{segment(name)}.mp4"
    video.write_bytes(os.urandom(size))
    result = {"bytes": size, "seed": 7, "warnings": []}
    kept.put(name, video, {"result": result, "request_sha256": sha}, stop=stop)
    data = video.read_bytes()
    video.unlink()  # as the job's folder goes
    if age is not None:
        record = kept.path(name).with_name("metadata.json")
        os.utime(record, (time.time() - age,) * 2)
    return data


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "kept", 10_000)


def test_a_kept_clip_outlives_the_file_it_was_made_in(kept):
    data = keep(kept, "a/job")
    assert kept.path("a/job").read_bytes() == data
    found = {"result": {"bytes": 1000, "seed": 7, "warnings": []}, "request_sha256": "a"}
    assert kept.find("a/job") == found
    assert kept.link("a/job") == kept.path("a/job").as_uri()


def test_the_same_disk_holds_a_clip_only_once(kept, tmp_path):
    video = tmp_path / "made.mp4"
    video.write_bytes(b"clip")
    kept.put("j", video, {"result": {"bytes": 4}, "request_sha256": "a"}, stop=never)
    assert video.samefile(kept.path("j"))


def test_another_disk_gets_a_copy_and_a_stop_ends_it(kept, tmp_path, monkeypatch):
    def other_disk(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_disk)
    data = keep(kept, "copied", size=3000)
    assert kept.path("copied").read_bytes() == data
    with pytest.raises(Cancelled):
        keep(kept, "stopped", stop=lambda: True)
    assert kept.find("stopped") is None
    assert list((kept.folder / ".partial").iterdir()) == []


def test_the_oldest_go_when_there_is_too_much(kept):
    for age in (40, 30, 20):
        keep(kept, f"job-{age}", size=3000, age=age)
    keep(kept, "new", size=3000)
    assert [kept.find(f"job-{age}") is None for age in (40, 30, 20)] == [True, False, False]
    assert kept.find("new") is not None
    assert list((kept.folder / ".partial").iterdir()) == []


def test_a_clip_larger_than_all_that_is_kept_drives_nothing_out(kept):
    keep(kept, "small", size=500)
    keep(kept, "huge", size=10_001)
    assert kept.find("huge") is None
    assert kept.find("small") is not None


def test_zero_bytes_keep_nothing_and_write_nothing(tmp_path):
    kept = Kept(tmp_path / "kept", 0)
    keep(kept, "job")
    assert kept.find("job") is None
    assert not kept.folder.exists()


def test_the_same_id_again_replaces_what_was_kept(kept):
    keep(kept, "job", size=500, sha="a")
    data = keep(kept, "job", size=700, sha="b")
    assert kept.path("job").read_bytes() == data
    assert kept.find("job")["request_sha256"] == "b"
    assert sorted(file.name for file in kept.folder.iterdir()) == [".partial", "job"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "video.mp4").write_bytes(b"half"),
        lambda folder: (folder / "video.mp4").unlink(),
        lambda folder: (folder / "metadata.json").unlink(),
        lambda folder: (folder / "metadata.json").write_text("{"),
        lambda folder: (folder / "metadata.json").write_text("[]"),
        lambda folder: (folder / "metadata.json").write_text("[" * 100_000),
        lambda folder: (folder / "metadata.json").write_bytes(b"\xff\xfe"),
        lambda folder: (folder / "metadata.json").write_text('{"result": {"bytes": 1000}}'),
        lambda folder: (folder / "metadata.json").write_text(
            '{"result": {"bytes": 1000, "x": NaN}, "request_sha256": "a"}'
        ),
        lambda folder: (folder / "metadata.json").write_text(
            '{"result": {"bytes": 1000, "warnings": "no"}, "request_sha256": "a"}'
        ),
    ],
    ids=range(10),
)
def test_what_is_damaged_is_not_found(kept, damage):
    keep(kept, "job")
    damage(kept.path("job").parent)
    assert kept.find("job") is None


def test_a_record_has_no_say_in_what_the_platform_does(kept):
    keep(kept, "job")
    record = kept.path("job").with_name("metadata.json")
    written = json.loads(record.read_text())
    written["result"] |= {"error": "x", "refresh_worker": True, "video_url": "u", "video": "v"}
    record.write_text(json.dumps(written))
    assert set(kept.find("job")["result"]) == {"bytes", "seed", "warnings"}


def test_a_result_that_is_no_json_is_refused_before_anything_is_written(kept, tmp_path):
    video = tmp_path / "made.mp4"
    video.write_bytes(b"clip")
    for value in (float("nan"), b"bytes", {1, 2}):
        with pytest.raises(DeliveryFailed, match="JSON"):
            kept.put("job", video, {"result": value, "request_sha256": "a"}, stop=never)
    assert not kept.folder.exists()


def test_a_disk_that_refuses_is_one_sentence_without_its_path(tmp_path):
    (tmp_path / "kept").write_text("a file, not a folder")
    with pytest.raises(DeliveryFailed, match="cannot be kept on disk") as caught:
        keep(Kept(tmp_path / "kept", 10_000), "job", folder=tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_half_folders_of_processes_that_died_are_swept(kept):
    keep(kept, "job")
    old, young = (kept.folder / ".partial" / name for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "video.mp4").write_bytes(b"half")
    os.utime(old, (time.time() - STALE_SECONDS - 1,) * 2)
    keep(kept, "next")
    assert not old.exists()
    assert young.exists()


def busy(folder, number, problems):
    """Keep clips under shared ids while others do, and read what is there."""
    kept = Kept(folder, 20_000)
    for turn in range(40):
        name = f"job-{turn % 4}"
        try:
            keep(kept, name, size=2000 + number, folder=folder.parent / str(number))
            kept.find(f"job-{(turn + 1) % 4}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to show it
            problems.put(repr(error))


def test_processes_may_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    problems = context.Queue()
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    workers = [
        context.Process(target=busy, args=(tmp_path / "kept", number, problems))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert problems.empty(), problems.get()
    kept = Kept(tmp_path / "kept", 20_000)
    assert [kept.find(f"job-{n}") is not None for n in range(4)] == [True] * 4
    assert list((tmp_path / "kept" / ".partial").iterdir()) == []
