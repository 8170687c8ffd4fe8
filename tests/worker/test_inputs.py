"""What a job may name: files in the worker's folders alone, and fetching that stops when told."""

import base64
import dataclasses
import io
import os
import socket
import stat
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

from ltx2 import folders as allowed
from ltx2.errors import BadRequest, Cancelled, DeadlineExceeded, MediaRefused
from ltx2.extent import Limits
from ltx2.lora_sources import LoraSources
from ltx2.media.address import parse
from ltx2.media.connection import connected
from ltx2.media.fetch import MediaLimits, fetch_picture
from ltx2.prepare import prepare
from ltx2.request import Request
from ltx2.waiting import aside
from pipelines.models import CHECKPOINTS
from tests.media.server import raw, serving
from tests.media.test_lora_sources import LORA, SHA256
from tests.unit.hub_server import COMMIT, FakeHub
from tests.unit.hub_server import serving as serving_hub

ROW = CHECKPOINTS["tiny"]
LIMITS = Limits(max_pixels=1536 * 1536, max_seconds=20)
LOCAL = MediaLimits(timeout_s=20, allow_private=True)  # the servers of these tests are on loopback
WAIT = 1.0  # seconds within which a stop must be heard


def png(colour=(200, 30, 30)):
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def place(tmp_path):
    """Two folders of inputs, and beside them what nobody may read."""
    for name in ("inputs", "loras", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "inputs" / "cats").mkdir()
    (tmp_path / "inputs" / "cats" / "a.png").write_bytes(png())
    (tmp_path / "inputs" / "picture").write_bytes(png())
    (tmp_path / "loras" / "style.safetensors").write_bytes(LORA)
    (tmp_path / "secret" / "a.png").write_bytes(png())
    (tmp_path / "secret" / "style.safetensors").write_bytes(LORA)
    return tmp_path


@pytest.fixture
def folders(place):
    return (place / "inputs", place / "loras")


def parsed(folders, **fields):
    return Request.parse({"prompt": "a cat", **fields}, folders=folders)


def refused(folders, **fields):
    with pytest.raises(BadRequest) as refusal:
        parsed(folders, **fields)
    assert len(refusal.value.problems) == 1
    return refusal.value.problems[0]


def prepared(request, folders=(), **options):
    options = {"checkpoint": ROW, "limits": LIMITS, "media": LOCAL, "paths": False, **options}
    return prepare(request, folders=folders, **options)


# --- folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["image_path", "image", "last_image_path", "last_image"])
@pytest.mark.parametrize("text", ["cats/a.png", "cats/../cats/a.png", "{}/inputs/cats/a.png"])
def test_a_picture_is_named_absolutely_or_from_a_folder(place, folders, field, text):
    request = parsed(folders, **{field: text.format(place)})
    name = field.removesuffix("_path")
    assert getattr(request, name) == str(place / "inputs" / "cats" / "a.png")
    assert prepared(request, folders).pictures[name].width == 64


def test_a_keyframe_and_a_lora_are_named_the_same_way(place, folders):
    request = parsed(
        folders,
        keyframes=[{"image": "cats/a.png", "frame": 8}],
        loras=[{"source": "style.safetensors"}, {"source": "dolly_in"}],
    )
    assert request.keyframes[0].image == str(place / "inputs" / "cats" / "a.png")
    style = str(place / "loras" / "style.safetensors")
    assert [lora.source for lora in request.loras] == [style, "dolly_in"]
    found = prepared(request.model_copy(update={"loras": request.loras[:1]}), folders)
    assert found.digests == {style: SHA256}


def test_a_path_without_a_dot_is_not_taken_for_base64(place):
    folder = (place / "inputs").resolve()
    text = "picture"
    request = parsed((folder,), image_path=text)
    assert Path(request.image).samefile(folder / text)
    assert prepared(request, (folder,)).pictures["image"].height == 48


def test_a_link_is_followed_inside_and_not_outside(place, folders):
    (place / "inputs" / "inside.png").symlink_to(place / "inputs" / "cats" / "a.png")
    (place / "inputs" / "outside.png").symlink_to(place / "secret" / "a.png")
    (place / "inputs" / "door").symlink_to(place / "secret")
    (place / "inputs" / "ring").symlink_to(place / "inputs" / "ring")
    assert parsed(folders, image_path="inside.png").image.endswith("cats/a.png")
    for name in ("outside.png", "door/a.png", "ring", "ring/a.png"):
        assert "must name a file in" in refused(folders, image_path=name)


def outside(place):
    return [
        "../secret/a.png",
        f"{place}/secret/a.png",
        f"{place}/inputs/../secret/a.png",
        f"{place}/inputs-of-others/a.png",
        "/proc/self/environ",
        "/proc/self/root/etc/hostname",
        "/dev/zero",
        "/etc/passwd",
        "~/a.png",
        "cats",  # a folder
        ".",
        "cats/a.png\0.png",
        "a" * 5000,
        "\ud800.png",
        "missing.png",
    ]


def test_what_lies_outside_is_refused_in_the_words_for_what_is_missing(place, folders):
    sentences = set()
    for text in outside(place):
        sentence = refused(folders, image_path=text)
        sentences.add(sentence.partition("; got ")[0])
        assert "must be a path" not in sentence
    assert len(sentences) == 1
    only = sentences.pop()
    assert str(place / "inputs") in only
    assert str(place / "loras") in only
    assert "secret" not in only


@pytest.mark.parametrize("text", ["../secret/style.safetensors", "{}/secret/style.safetensors"])
def test_a_lora_outside_is_refused_in_the_words_for_one_that_is_missing(place, folders, text):
    there = refused(folders, loras=[{"source": text.format(place)}])
    missing = refused(folders, loras=[{"source": "missing.safetensors"}])
    assert there.partition("; got ")[0] == missing.partition("; got ")[0]
    assert "must name a .safetensors file in" in there


def test_a_pipe_is_no_picture_and_does_not_make_anyone_wait(place, folders):
    os.mkfifo(place / "inputs" / "pipe.png")
    began = time.monotonic()
    assert "must name a file in" in refused(folders, image_path="pipe.png")
    assert time.monotonic() - began < WAIT


def test_folders_that_do_not_exist_are_not_spoken_of(place):
    sentence = refused((place / "nowhere",), image_path="a.png")
    assert "image_path is not accepted here" in sentence
    assert "nowhere" not in sentence
    some = refused((place / "nowhere", place / "inputs"), image_path="a.png")
    assert "nowhere" not in some
    assert "inputs" in some


def test_a_file_that_is_exchanged_after_parsing_is_not_read(place, folders):
    request = parsed(folders, image_path="cats/a.png", loras=[{"source": "style.safetensors"}])
    (place / "inputs" / "cats" / "a.png").unlink()
    (place / "inputs" / "cats" / "a.png").symlink_to(place / "secret" / "a.png")
    (place / "loras" / "style.safetensors").unlink()
    (place / "loras" / "style.safetensors").symlink_to(place / "secret" / "style.safetensors")
    with pytest.raises(BadRequest) as refusal:
        prepared(request, folders)
    assert str(refusal.value).count("names no file that can be read here") == 2


def test_a_folder_on_the_way_that_is_exchanged_is_not_followed(place, folders):
    request = parsed(folders, image_path="cats/a.png")
    (place / "inputs" / "cats").rename(place / "inputs" / "before")
    (place / "inputs" / "cats").symlink_to(place / "secret")
    with pytest.raises(MediaRefused, match="names no file that can be read here"):
        prepared(request, folders)


@pytest.mark.parametrize("folders", [(), ("inputs",)])
def test_a_request_that_was_parsed_elsewhere_gets_no_other_files(place, folders):
    given = tuple(place / name for name in folders)
    request = Request(
        prompt="a",
        image=str(place / "secret" / "a.png"),
        loras=[{"source": str(place / "secret" / "style.safetensors")}],
    )
    with pytest.raises(BadRequest) as refusal:
        prepared(request, given)
    problems = str(refusal.value)
    assert "image" in problems
    assert "loras[0] names no file that can be read here" in problems
    assert prepared(request, paths=True).digests


def test_no_descriptor_stays_open(place, folders):
    before = len(descriptors())
    for text in ("cats/a.png", *outside(place)):
        with suppress(allowed.NotThere):
            allowed.find(text, folders)
        with suppress(allowed.NotThere, ValueError), allowed.opened(place / "inputs", folders):
            pytest.fail("a folder is no file")
    assert len(descriptors()) == before


# --- stop while fetching ---------------------------------------------------------------------


class Stop:
    """Says stop a while after `since` is true, by its answer or by an error."""

    def __init__(self, seconds, error=None, since=lambda: True):
        self.seconds, self.error, self.since = seconds, error, since
        self.end = None
        self.asked = []

    def __call__(self):
        self.asked.append(time.monotonic())
        if self.end is None and self.since():
            self.end = time.monotonic() + self.seconds
        late = self.end is not None and time.monotonic() >= self.end
        if late and self.error is not None:
            raise self.error
        return late


@contextmanager
def expect_end(stop, error=Cancelled):
    """The block ends by the stop, soon after it, and leaves neither sockets nor threads."""
    sockets, threads = open_sockets(), set(threading.enumerate())
    with pytest.raises(error):
        yield
    assert time.monotonic() - stop.end < WAIT
    gaps = [after - before for before, after in zip(stop.asked, stop.asked[1:], strict=False)]
    assert max(gaps, default=0) < 1
    left = {each for each in set(threading.enumerate()) - threads if each.name in {"line", "hub"}}
    assert eventually(lambda: not any(each.is_alive() for each in left))
    assert eventually(lambda: open_sockets() <= sockets)


def open_sockets():
    """How many sockets this process has, those of the servers in it included."""
    return sum(stat.S_ISSOCK(facts.st_mode) for facts in descriptors())


def descriptors():
    """What this process has open."""
    found = []
    for number in range(1024):
        with suppress(OSError):
            found.append(os.fstat(number))
    return found


def eventually(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


def dripping(head):
    """Sends the head at once and then a byte each 80 ms."""

    def answer(handler):
        raw(head)(handler)
        raw(b"x" * 40, drip_s=0.08)(handler)

    return answer


SLOW = {
    "before the answer": raw(b"", rest_s=2.5),
    "within the head": raw(HEAD, drip_s=0.1),
    "after the head": raw(HEAD, rest_s=2.5),
    "byte by byte": dripping(HEAD),
    "byte by byte and of no known length": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_a_picture_that_does_not_come_stops_when_told(answer):
    with serving({"/a.png": answer}) as server:
        stop = Stop(0.4)
        request = Request.parse({"prompt": "a", "image_url": server.url("/a.png")})
        with expect_end(stop):
            prepared(request, stop=stop)


def test_what_the_stop_raises_comes_through():
    with serving({"/a.png": raw(HEAD, rest_s=2.5)}) as server:
        stop = Stop(0.3, DeadlineExceeded("the time is up"))
        request = Request.parse({"prompt": "a", "image_url": server.url("/a.png")})
        with expect_end(stop, DeadlineExceeded):
            prepared(request, stop=stop)


def test_a_stop_that_was_given_before_asks_nobody():
    with serving({"/a.png": png()}) as server:
        request = Request.parse({"prompt": "a", "image_url": server.url("/a.png")})
        with pytest.raises(Cancelled):
            prepared(request, stop=lambda: True)
        assert server.asked == []


def test_a_host_name_that_is_not_resolved_stops_when_told(monkeypatch):
    answered = threading.Event()

    def getaddrinfo(*_arguments, **_options):
        answered.wait(5)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    stop = Stop(0.4)
    try:
        with pytest.raises(Cancelled):
            prepared(
                Request.parse({"prompt": "a", "image_url": "http://slow.example/a.png"}), stop=stop
            )
        assert time.monotonic() - stop.end < WAIT
    finally:
        answered.set()


@contextmanager
def full_backlog():
    """A port that takes no connection and refuses none."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(listening.getsockname())
            waiting.append(each)
        try:
            yield listening.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


def test_a_connection_that_is_not_made_stops_when_told():
    with full_backlog() as port:
        address = parse(f"http://127.0.0.1:{port}/a.png", any_port=True)
        stop = Stop(0.4)
        with (
            expect_end(stop),
            connected(address, ["127.0.0.1"], time.monotonic() + 20, stop=stop),
        ):
            pytest.fail("nobody answers")


def test_a_handshake_that_does_not_come_stops_when_told():
    with serving({}) as server:  # it waits for a request in plain HTTP
        url = server.url("/a.png").replace("http://", "https://")
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/a.png"
            stop = Stop(0.4)
            with expect_end(stop):
                prepared(Request.parse({"prompt": "a", "image_url": url}), stop=stop)


@pytest.fixture
def sources(tmp_path):
    return LoraSources(
        folder=tmp_path / "kept",
        hub_caches=(tmp_path / "hub",),
        max_bytes=100_000_000,
        kept_bytes=10 * len(LORA),
        timeout_s=20.0,
        allow_private=True,
        endpoint=None,
        token=None,
        offline=False,
    )


def temporary(sources):
    return list((sources.folder / ".partial").glob("*"))


def test_a_lora_by_url_that_does_not_come_stops_when_told(sources):
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LORA) + LORA[:-64]
    with serving({"/style.safetensors": raw(whole, rest_s=2.5)}) as server:
        stop = Stop(0.4)
        request = Request.parse(
            {"prompt": "a", "loras": [{"source": server.url("/style.safetensors")}]}
        )
        with expect_end(stop):
            prepared(request, sources=sources, stop=stop)
    assert temporary(sources) == []
    assert list(sources.folder.glob("*.safetensors")) == []


def test_a_stop_is_no_refusal_beside_others(sources):
    """Else what was refused before would be answered, and the deadline not be heard of."""
    answers = {"/gone.safetensors": 404, "/slow.safetensors": raw(HEAD, rest_s=2.5)}
    with serving(answers) as server:
        loras = [{"source": server.url(path)} for path in answers]
        stop = Stop(0.4)
        with expect_end(stop):
            prepared(Request.parse({"prompt": "a", "loras": loras}), sources=sources, stop=stop)


@contextmanager
def hub_with_slow_files(answer):
    """A hub that sends a file's first bytes at once, and then the file as `answer` does."""

    def file(handler):
        if handler.headers.get("Range"):
            raw(b"HTTP/1.1 200 OK\r\n\r\n" + LORA)(handler)
        else:
            answer(handler)

    path = f"/someone/loras/resolve/{COMMIT}/style.safetensors"
    with serving({path: file}) as store:
        hub = FakeHub({"someone/loras": {"style.safetensors": LORA}}, cdn=store.url(""))
        with serving_hub(hub) as address:
            yield address, store


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LORA) + LORA


@pytest.mark.parametrize(
    "answer",
    [raw(WHOLE[:100], drip_s=0.05), raw(WHOLE[:200], rest_s=2.5), raw(b"", rest_s=2.5)],
    ids=["byte by byte", "after some bytes", "before the answer"],
)
def test_a_lora_of_a_repository_that_does_not_come_stops_when_told(sources, answer):
    request = Request.parse(
        {"prompt": "a", "loras": [{"source": "someone/loras:style.safetensors"}]}
    )
    with hub_with_slow_files(answer) as (address, store):

        def file_is_asked_for():
            return any("Range" not in headers for _, headers in store.asked)

        stop = Stop(0.4, since=file_is_asked_for)
        with pytest.raises(Cancelled):
            prepared(request, sources=dataclasses.replace(sources, endpoint=address), stop=stop)
        assert time.monotonic() - stop.end < WAIT
        assert eventually(lambda: not temporary(sources))
        assert eventually(lambda: "hub" not in {each.name for each in threading.enumerate()})
    assert list(sources.folder.glob("*.safetensors")) == []


def test_a_lora_of_a_repository_has_its_time(sources):
    with hub_with_slow_files(raw(WHOLE[:200], rest_s=2.5)) as (address, _):
        there = dataclasses.replace(sources, endpoint=address, timeout_s=1)
        with pytest.raises(BadRequest, match="was not fetched within 1 s"):
            prepared(
                Request.parse(
                    {"prompt": "a", "loras": [{"source": "someone/loras:style.safetensors"}]}
                ),
                sources=there,
            )
        assert eventually(lambda: not temporary(sources))


def test_a_repositorys_file_whose_line_breaks_is_continued(sources):
    hub = FakeHub({"someone/loras": {"style.safetensors": LORA}})
    with serving_hub(hub) as address:
        there = dataclasses.replace(sources, endpoint=address)
        request = Request.parse(
            {"prompt": "a", "loras": [{"source": "someone/loras:style.safetensors"}]}
        )
        judged = threading.Event()

        def cut_the_file_once():
            # The header takes two requests, the next is for the file.
            if len(hub.ranges("style.safetensors")) == 2 and not judged.is_set():
                hub.cut["style.safetensors"] = len(LORA) // 2
                judged.set()
            return False

        prepared(request, sources=there, stop=cut_the_file_once)
    assert (sources.folder / f"{SHA256}.safetensors").read_bytes() == LORA
    assert hub.ranges("style.safetensors")[2:] == [None, f"bytes={len(LORA) // 2}-"]


def test_an_error_aside_is_raised_where_it_was_waited_for():
    def fails(_left_behind):
        raise KeyError("of the call")

    with pytest.raises(KeyError, match="of the call"):
        aside(fails, stop=None, name="test")
    assert aside(lambda _: 5, stop=None, name="test") == 5


def test_base64_and_data_uris_hold_no_way_around_the_folders(folders):
    text = base64.b64encode(png()).decode()
    assert parsed(folders, image=text).image == text
    with pytest.raises(MediaRefused):
        fetch_picture(
            "file:///etc/passwd", name="image", allow_paths=False, limits=LOCAL, folders=folders
        )
