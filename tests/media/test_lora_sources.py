"""LoRAs from URLs and repositories: judged by their first bytes, fetched once, kept by content."""

import dataclasses
import hashlib
import json
import os
import struct
import time

import pytest

from loras.keys import LoraMismatch
from ltx2.errors import BadRequest, ConfigError, TooLarge
from ltx2.extent import Limits
from ltx2.lora_files import LoraFiles, refusal_of
from ltx2.lora_sources import STALE_SECONDS, LoraSources
from ltx2.media.fetch import MediaLimits
from ltx2.prepare import prepare
from ltx2.request import Request
from pipelines.checkpoints.files import find
from pipelines.models import CHECKPOINTS
from pipelines.plan import Adapter
from tests.media.server import raw, redirect, serving
from tests.unit.hub_server import FakeHub
from tests.unit.hub_server import serving as serving_hub

LAYER = "diffusion_model.transformer_blocks.0.attn1.to_q"
SIZE = 128  # of that layer in the embedded checkpoint
ROW = CHECKPOINTS["tiny"]


def content(fill=b"\0", inputs=SIZE, rank=2, **metadata):
    """A whole LoRA file of float32 zeros, or of another byte."""
    header, end = {}, 0
    shapes = {f"{LAYER}.lora_A.weight": (rank, inputs), f"{LAYER}.lora_B.weight": (SIZE, rank)}
    for name, shape in shapes.items():
        start, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    return struct.pack("<Q", len(text)) + text + fill * end


LORA = content()
SHA256 = hashlib.sha256(LORA).hexdigest()


@pytest.fixture
def sources(tmp_path):
    return LoraSources(
        folder=tmp_path / "loras",
        hub_caches=(tmp_path / "hub",),
        max_bytes=100_000,
        kept_bytes=10 * len(LORA),
        timeout_s=5.0,
        allow_private=True,
        endpoint=None,
        token=None,
        offline=False,
    )


def accept(_header, _name):
    return None


def fetch(sources, source, **options):
    options = {"name": "loras[0]", "check": accept, "trusted": True, **options}
    return sources.fetch(source, **options)


def refused(sources, source, kind=BadRequest, **options):
    """The refusal's text; nothing of the file may be left."""
    with pytest.raises(kind) as caught:
        fetch(sources, source, **options)
    assert type(caught.value) is kind
    assert left(sources) == []
    text = str(caught.value)
    assert text.startswith("loras[0]")
    assert "secret" not in text
    return text


def left(sources):
    """Every file in the folder but the notes about addresses."""
    files = [path for path in sources.folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if path.suffix != ".json")


def tagged(body, tag='"v1"', header="ETag", asks="If-None-Match"):
    """An answer with a validator, and 304 to those who have it."""

    def answer(handler):
        if handler.headers.get(asks) == tag:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header(header, tag)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_url_becomes_a_file_named_by_its_content(sources):
    with serving({"/a/style.safetensors": LORA}) as server:
        found = fetch(sources, server.url("/a/style.safetensors?token=secret"))
    assert found.sha256 == SHA256
    assert found.file == sources.folder / f"{SHA256}.safetensors"
    assert found.file.read_bytes() == LORA
    assert left(sources) == [found.file]
    assert sources.find("https://elsewhere.example/x", SHA256) == found.file
    assert not any(b"secret" in path.read_bytes() for path in sources.folder.rglob("*.json"))


@pytest.mark.parametrize(
    ("header", "asks"), [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")]
)
def test_a_second_job_asks_whether_it_changed_and_fetches_nothing(sources, header, asks):
    with serving({"/a": tagged(LORA, "v1", header, asks)}) as server:
        first = fetch(sources, server.url("/a"))
        changed = first.file.stat().st_mtime_ns
        again = fetch(sources, server.url("/a"))
        assert again == first
        assert [asks in headers for _, headers in server.asked] == [False, True]
        assert again.file.stat().st_mtime_ns == changed
        server.answers["/a"] = tagged(content(b"\1"), "v2", header, asks)
        assert fetch(sources, server.url("/a")).sha256 != first.sha256


def test_a_file_that_was_deleted_is_fetched_again(sources):
    with serving({"/a": tagged(LORA)}) as server:
        fetch(sources, server.url("/a")).file.unlink()
        assert fetch(sources, server.url("/a")).file.read_bytes() == LORA


def test_a_header_that_is_refused_ends_the_fetch_before_the_data(sources):
    whole = content(rank=64, note="x")
    sent = []

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[:1000])
        handler.wfile.flush()
        time.sleep(1.0)
        sent.append(len(whole))

    with serving({"/a": answer}) as server:
        started = time.monotonic()
        text = refused(sources, server.url("/a"), check=lambda header, name: f"{name} is not it")
        assert time.monotonic() - started < 0.9
    assert text == "loras[0]: a is not it"


PICKLE = b"PK\x03\x04\0\0\x08\x08" + bytes(100)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (PICKLE, "is a pickle, which could run any code"),
        (b"\x80\x02}q\0.", "is a pickle"),
        (b"<!doctype html><title>sign in</title>", "is not a safetensors file"),
        (b"", "is not a safetensors file"),
        (LORA[:60], "broken safetensors header"),
        (LORA[:-1], f"has {len(LORA) - 1} bytes, its header promises {len(LORA)}"),
        (LORA + b"\0", f"has {len(LORA) + 1} bytes"),
        (struct.pack("<Q", 90_000_000) + b"{" * 100, "is not a safetensors file"),
    ],
    ids=["zip", "pickle", "page", "empty", "cut header", "cut", "longer", "huge header"],
)
def test_what_is_no_whole_safetensors_file_is_refused_and_nothing_stays(sources, body, words):
    with serving({"/a": body}) as server:
        assert words in refused(sources, server.url("/a?token=secret"))


@pytest.mark.parametrize(("more", "words"), [(-1, "does not end"), (1, "does not end")])
def test_a_body_of_unknown_length_must_end_where_the_header_promises(sources, more, words):
    body = LORA[:-1] if more < 0 else LORA + b"\0"
    with serving({"/a": raw(b"HTTP/1.1 200 OK\r\n\r\n" + body)}) as server:
        assert words in refused(sources, server.url("/a"))
    with serving({"/a": raw(b"HTTP/1.1 200 OK\r\n\r\n" + LORA)}) as server:
        assert fetch(sources, server.url("/a")).sha256 == SHA256


def test_a_file_that_is_too_heavy_is_refused_from_its_header(sources):
    small = dataclasses.replace(sources, max_bytes=len(LORA) - 1)
    with serving({"/a": LORA}) as server:
        text = refused(small, server.url("/a"), TooLarge)
    assert f"has {len(LORA):,} bytes; a LoRA may have {len(LORA) - 1:,} here" in text


def test_a_slow_or_broken_line_leaves_nothing(sources):
    quick = dataclasses.replace(sources, timeout_s=1.0)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LORA)
    with serving({"/a": raw(head + LORA[:900], rest_s=3.0)}) as server:
        assert "not done within 1 s" in refused(quick, server.url("/a"))
    with serving({"/a": raw(head + LORA[:900])}) as server:
        assert "broke before the end" in refused(quick, server.url("/a"))
    with serving({"/a": 404}) as server:
        assert "the server answered 404" in refused(quick, server.url("/a?token=secret"))


def test_private_addresses_are_refused_also_behind_a_redirect(sources, monkeypatch):
    public = dataclasses.replace(sources, allow_private=False)
    for url in ("http://127.0.0.1/a", "http://169.254.169.254/latest", "http://[::1]/a"):
        assert "must come from a public address" in refused(public, url)
    with serving({"/a": redirect("http://10.0.0.7/a?token=secret")}) as server:
        monkeypatch.setattr("ltx2.media.address.PORTS", {"http": server.port, "https": 443})
        monkeypatch.setattr("ltx2.media.address.is_public", lambda number: number == "127.0.0.1")
        text = refused(public, server.url("/a"))
    assert "public address" in text


def test_what_was_used_longest_ago_goes_first_and_never_what_is_in_use(sources):
    small = dataclasses.replace(sources, kept_bytes=2 * len(LORA))
    bodies = {f"/{n}": content(bytes([n])) for n in range(4)}
    files = []
    with serving(bodies) as server:
        for n in range(4):
            files.append(fetch(small, server.url(f"/{n}")).file)
            os.utime(files[n], ns=(n * 10**9, files[n].stat().st_mtime_ns))
    small.prune({files[0]})
    assert left(small) == sorted([files[0], files[3]])


def test_half_files_of_processes_that_died_are_cleared(sources):
    partial = sources.folder / ".partial" / "old"
    partial.parent.mkdir(parents=True)
    fresh = partial.with_name("new")
    for path in (partial, fresh):
        path.write_bytes(b"half")
    os.utime(partial, (0, time.time() - 2 * STALE_SECONDS))
    sources.prune(set())
    assert left(sources) == [fresh]


def test_a_folder_that_cannot_be_written_to_is_a_fault_of_the_machine(sources, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    full = dataclasses.replace(sources, folder=blocked / "loras")
    with serving({"/a": LORA}) as server, pytest.raises(ConfigError, match="set LTX2_CACHE"):
        fetch(full, server.url("/a"))


# Repositories on the hub


@pytest.fixture
def hub():
    return FakeHub({"someone/loras": {"a/style.safetensors": LORA, "README.md": b"hello"}})


SOURCE = "someone/loras:a/style.safetensors"


def test_a_file_of_a_repository_is_fetched_once(sources, hub):
    with serving_hub(hub) as address:
        there = dataclasses.replace(sources, endpoint=address)
        first = fetch(there, SOURCE)
        assert (first.sha256, first.file.read_bytes()) == (SHA256, LORA)
        fetched = len(hub.ranges("a/style.safetensors"))
        assert fetch(there, SOURCE) == first
        assert len(hub.ranges("a/style.safetensors")) == fetched
    assert left(sources) == [first.file]
    assert sources.find(SOURCE, SHA256) == first.file


def test_a_file_that_a_download_brought_is_used_where_it_lies(sources, hub, tmp_path):
    blob = tmp_path / "hub" / "models--someone--loras" / "blobs" / SHA256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(LORA)
    with serving_hub(hub) as address:
        found = fetch(dataclasses.replace(sources, endpoint=address), SOURCE)
    assert found.file == blob
    assert hub.ranges("a/style.safetensors") == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/loras:other.safetensors", "holds a/style.safetensors; other.safetensors is not"),
        ("nobody/nothing:a.safetensors", "no such repository is visible"),
    ],
)
def test_what_a_repository_does_not_hold_is_refused(sources, hub, source, words):
    with serving_hub(hub) as address:
        assert words in refused(dataclasses.replace(sources, endpoint=address), source)


def test_a_repositorys_file_is_judged_before_it_is_fetched(sources, hub):
    hub.repositories["someone/loras"] |= {"p.safetensors": PICKLE, "big.safetensors": LORA * 50}
    with serving_hub(hub) as address:
        there = dataclasses.replace(sources, endpoint=address)
        assert "is a pickle" in refused(there, "someone/loras:p.safetensors")
        assert "style.safetensors is not it" in refused(
            there, SOURCE, check=lambda _header, name: f"{name} is not it"
        )
        text = refused(there, "someone/loras:big.safetensors", TooLarge)
    assert "a LoRA may have 100,000 here" in text
    assert set(hub.ranges("a/style.safetensors")) <= {"bytes=0-7", f"bytes=0-{header_end() - 1}"}
    assert hub.ranges("big.safetensors") == []


def header_end():
    return 8 + struct.unpack("<Q", LORA[:8])[0]


def test_damaged_bytes_and_a_broken_line_leave_nothing(sources, hub):
    with serving_hub(hub) as address:
        there = dataclasses.replace(sources, endpoint=address)
        hub.corrupt.add("a/style.safetensors")
        refused(there, SOURCE)
        hub.corrupt.clear()
        hub.status["a/style.safetensors"] = 500
        assert "the hub answered 500" in refused(there, SOURCE)


def test_only_a_trusted_caller_uses_this_machines_token(sources, hub):
    hub.gated.add("someone/loras")
    with serving_hub(hub) as address:
        there = dataclasses.replace(sources, endpoint=address, token=hub.token)
        assert "is gated" in refused(there, SOURCE, trusted=False)
        assert fetch(there, SOURCE, trusted=True).sha256 == SHA256
        hub.authorizations.clear()
        with pytest.raises(BadRequest):
            fetch(there, SOURCE, trusted=False)
    assert set(hub.authorizations) == {None}


def test_without_the_network_the_hubs_cache_serves(sources, tmp_path):
    offline = dataclasses.replace(sources, offline=True)
    assert "HF_HUB_OFFLINE is set" in refused(offline, SOURCE)
    file = tmp_path / "hub" / "models--someone--loras" / "snapshots" / "c0" / "a/style.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(LORA)
    assert (fetch(offline, SOURCE).file, fetch(offline, SOURCE).sha256) == (file, SHA256)
    assert sources.find(SOURCE, SHA256) == file


def test_a_digest_that_is_none_names_no_file(sources):
    (sources.folder / "x").mkdir(parents=True)
    (sources.folder / "x.safetensors").write_bytes(LORA)
    assert sources.find("https://x.org/a", "../loras/x") is None


# Requests


def prepared(request, sources, **options):
    return prepare(
        request, checkpoint=ROW, limits=Limits(), media=MediaLimits(), sources=sources, **options
    )


def of(*loras, **fields):
    return Request(prompt="a", seed=7, loras=list(loras), **fields)


def test_a_plan_names_what_came_from_a_url_by_its_content_and_without_its_query(sources):
    with serving({"/style.safetensors": LORA, "/other.safetensors": content(b"\1")}) as server:
        url = server.url("/style.safetensors?token=secret")
        first = prepared(of({"source": url}), sources).plan
        again = prepared(of({"source": url + "2"}), sources).plan
        other = prepared(of({"source": server.url("/other.safetensors")}), sources).plan
        place = server.url("/style.safetensors")
    (adapter,) = first.base.adapters
    assert (adapter.source, adapter.sha256) == (place, SHA256)
    assert first.id == again.id != other.id
    assert "secret" not in json.dumps(first.as_dict())
    assert first.warnings == ()


def test_nothing_is_fetched_for_a_request_that_is_refused_anyway(sources):
    with serving({"/style.safetensors": LORA}) as server:
        mine = {"source": server.url("/style.safetensors")}
        with pytest.raises(BadRequest, match="dolly_inn"):
            prepared(of(mine, {"source": "dolly_inn"}), sources)
        assert server.asked == []


def test_a_url_that_does_not_fit_the_model_is_refused_before_its_data(sources, tiny):
    files = LoraFiles(find=lambda adapter: tiny / adapter.source, weights=find(tiny, ROW))
    with serving({"/style.safetensors": content(inputs=4096)}) as server:
        with pytest.raises(BadRequest, match=r"loras\[0\]: style.safetensors: other shapes"):
            prepared(of({"source": server.url("/style.safetensors?k=1")}), sources, files=files)
        server.answers["/style.safetensors"] = LORA
        done = prepared(of({"source": server.url("/style.safetensors?k=1")}), sources, files=files)
        place = server.url("/style.safetensors")
    assert done.matches[place, SHA256].layers("transformer") == 1


def test_an_ic_lora_from_a_url_is_refused_with_what_to_do(sources):
    with (
        serving({"/a": content(reference_downscale_factor="2")}) as server,
        pytest.raises(BadRequest, match="set detailer to true"),
    ):
        prepared(of({"source": server.url("/a")}), sources)


def test_one_file_by_two_addresses_is_refused_for_one_pass(sources):
    with serving({"/style.safetensors": LORA}) as server:
        twice = [{"source": server.url(f"/style.safetensors?k={key}")} for key in (1, 2)]
        with pytest.raises(BadRequest, match=r"loras\[1\]: it is the same file as loras\[0\]"):
            prepared(of(*twice), sources)
        apart = [{**twice[0], "stages": "base"}, {**twice[1], "stages": "refine"}]
        done = prepared(of(*apart), sources).plan
    assert done.base.adapters == done.refine.adapters != ()


def test_a_fetched_file_is_called_what_the_request_calls_it(sources, tiny):
    """Also where only the engine judges it: nobody has asked for the hash it is kept under."""
    with serving({"/style.safetensors": content(inputs=4096)}) as server:
        place = server.url("/style.safetensors")
        (adapter,) = prepared(of({"source": f"{place}?k=1"}), sources).plan.base.adapters
    kept = sources.find(place, adapter.sha256)
    files = LoraFiles(find=lambda _adapter: kept, weights=find(tiny, ROW))
    _, (problem,) = files.examine([adapter], "distilled")
    assert isinstance(problem, BadRequest)
    assert str(problem).startswith(f"loras, {place}: style.safetensors: other shapes")
    kept.write_bytes(b"broken")
    _, (problem,) = files.examine([adapter], "distilled")
    assert str(problem).startswith(f"loras, {place}: style.safetensors is not a safetensors file")
    assert adapter.sha256 not in str(problem)


def test_an_error_of_loading_blames_the_request_for_its_own_file_alone(tmp_path):
    mine, theirs = tmp_path / f"{SHA256}.safetensors", tmp_path / "jib_up.safetensors"
    mine.write_bytes(LORA)
    theirs.write_bytes(content(b"\1"))
    adapters = [
        Adapter(source="jib_up", strength=1.0),
        Adapter(source="https://x.org/style.safetensors", strength=1.0, sha256=SHA256),
    ]
    error = LoraMismatch(f"{mine.name}: no number", file=mine)
    found = refusal_of(error, adapters)
    assert isinstance(found, BadRequest)
    assert str(found) == "loras, https://x.org/style.safetensors: style.safetensors: no number"
    for file in (theirs, None):
        found = refusal_of(LoraMismatch("jib_up.safetensors takes all", file=file), adapters)
        assert isinstance(found, ConfigError)
        assert str(found) == "a LoRA of this checkpoint: jib_up.safetensors takes all"
