"""Any job at all through the whole worker: it is answered, in the contract's words, and soon.

Nothing here is drawn anew in each run: a case that fails once fails always.
"""

import asyncio
import base64
import io
import json
import math
import re
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from ltx2.engine import Engine
from ltx2.settings import Settings
from ltx2.worker.gate import Gate
from ltx2.worker.job import ACTIONS, OUTPUTS
from ltx2.worker.schema import input_schema, result_schema
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.worker import Worker
from tests.media.server import redirect, serving
from tests.worker.from_schema import anything, fitting
from tests.worker.logged import Written, loggers_as_before

# Pillow warns of some damaged pictures; a worker logs that and goes on.
pytestmark = pytest.mark.filterwarnings("default::UserWarning:PIL")

SECONDS = 20.0  # for one job; none of these makes a large clip
SECRETS = {
    "HF_TOKEN": "planted-token-of-the-hub",
    "RUNPOD_API_KEY": "planted-key-of-the-account",
}
PLANTED = [*SECRETS.values(), "planted-in-a-query", "planted-in-a-job", "planted prompt"]
RESULT = Draft202012Validator(result_schema())
REPRODUCIBLE = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


class Line:
    """A gate with its event loop on a thread of its own, as the platform's client has one."""

    def __init__(self, gate, log):
        self.gate, self.log = gate, log
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def check_job(self, job):
        """The answer to a job, once it has been seen to be one that a caller can use."""
        self.log.stream.seek(0)
        self.log.stream.truncate()
        began = time.monotonic()
        found = asyncio.run_coroutine_threadsafe(self.gate(job), self.loop).result(6 * SECONDS)
        assert time.monotonic() - began < SECONDS
        check_answer(found)
        check_log(self.log)
        return found

    def check(self, **fields):
        """The answer to a job with this input."""
        return self.check_job({"id": "job", "input": fields})

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.gate.close()


def check_answer(answer):
    text = json.dumps(answer, allow_nan=False)
    if "error" not in answer:
        if "sha256" in answer and "ok" not in answer:
            RESULT.validate(answer)
        return
    RESULT.validate(answer)
    assert answer["error_code"] != "INTERNAL", answer
    assert len(text) < 100_000
    for secret in PLANTED[:3]:
        assert secret not in text


def check_log(log):
    text = log.text
    assert "Traceback" not in text
    for secret in PLANTED:
        assert secret not in text, secret
    for run in re.findall(r"[A-Za-z0-9+/]{64,}", text):
        assert re.fullmatch(r"[0-9a-f]{64}", run) or run.startswith(("/", "tmp/")), run[:99]


@contextmanager
def line_to(tiny, folder, **limits):
    """A line to a worker of the embedded checkpoint that takes no more than the limits say."""
    environ = {
        **SECRETS,
        "LTX2_CACHE": str(folder / "cache"),
        "LTX2_SCRATCH": str(folder),
        "LTX2_FETCH_SECONDS": "2",
        "LTX2_INPUT_FOLDERS": str(folder / "inputs"),
        "HF_HUB_OFFLINE": "1",
        **limits,
    }
    (folder / "inputs").mkdir()
    (folder / "inputs" / "a.png").write_bytes(png())
    of_engine, of_worker = Settings.from_env(environ), WorkerSettings.from_env(environ)
    engine = Engine.load(str(tiny), settings=of_engine)
    started = SimpleNamespace(engine=engine, timings={"load": 0.0})
    worker = Worker(of_engine, of_worker, load=lambda: started)
    with loggers_as_before():
        line = Line(Gate(worker), Written(environ))
        try:
            yield line
        finally:
            line.close()
    assert [each for each in folder.iterdir() if each.name not in ("inputs", "cache")] == []


@pytest.fixture(scope="module")
def refusing(tiny, tmp_path_factory):
    """A worker for which every clip is too large: a request is read, fetched and planned."""
    folder = tmp_path_factory.mktemp("refusing")
    with line_to(tiny, folder, LTX2_MAX_TOKENS="1") as line:
        yield line


@pytest.fixture(scope="module")
def making(tiny, tmp_path_factory):
    """A worker that makes small clips."""
    folder = tmp_path_factory.mktemp("making")
    small = {"LTX2_MAX_PIXELS": str(128 * 128), "LTX2_MAX_SECONDS": "0.4"}
    with line_to(tiny, folder, **small) as line:
        yield line


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """No name is known here, and nobody outside of this machine is asked; who would have been."""
    look_up, connect = socket.getaddrinfo, socket.socket.connect
    hosts = []

    def getaddrinfo(host, *rest, **options):
        try:
            return look_up(host, *rest, **{**options, "flags": socket.AI_NUMERICHOST})
        except OSError:
            if host == "localhost":
                return look_up("127.0.0.1", *rest, **options)
            raise

    def guarded(self, where):
        if self.family in (socket.AF_INET, socket.AF_INET6) and where[0] != "127.0.0.1":
            hosts.append(where[0])
            raise ConnectionRefusedError(111, "nobody is asked from a test")
        return connect(self, where)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", guarded)
    return hosts


# --- inputs by the schema, and changed ones --------------------------------------------------

DEFINITIONS = input_schema()["$defs"]
CLIPS = fitting(DEFINITIONS["Clip"], DEFINITIONS)
FIELDS = [*DEFINITIONS["Clip"]["properties"], "action", "colour", ""]
ODD = st.sampled_from(
    [
        float("nan"),
        float("inf"),
        -0.0,
        10**400,
        -(10**5000),
        2**63,
        "\ud800",
        "\0",
        "a" * 100_000,
        "data:",
        "data:image/png;base64,",
        "data:" + "x" * 100_000,
        "http://",
        "file:///etc/passwd",
        "../../etc/passwd",
        "/proc/self/environ",
        b"bytes",
        {1: 2},
        {None: {}},
        {"a", "set"},
        [[[[[[]]]]]],
        object,
    ]
)
ANYTHING = anything(*OUTPUTS, *ACTIONS, "fast", "pro", "a.png") | ODD


@st.composite
def changed(draw):
    """A clip by the schema with a few fields that have other values."""
    others = draw(st.dictionaries(st.sampled_from(FIELDS) | st.text(), ANYTHING, max_size=3))
    return draw(CLIPS) | others


@settings(REPRODUCIBLE, max_examples=60)
@given(CLIPS)
def test_an_input_by_the_schema_is_answered(refusing, data):
    refusing.check(**data)


@settings(REPRODUCIBLE, max_examples=75)
@given(changed())
def test_a_changed_input_is_answered(refusing, data):
    refusing.check_job({"id": "job", "input": data})


STORE = ("accessId", "accessSecret", "bucketName", "endpointUrl")
JOBS = st.fixed_dictionaries(
    {},
    optional={
        "id": ANYTHING,
        "input": ANYTHING | changed(),
        "policy": ANYTHING | st.fixed_dictionaries({"executionTimeout": ANYTHING}),
        "s3Config": ANYTHING
        | st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(STORE, ANYTHING),
        ),
        "webhook": ANYTHING,
    },
)


@settings(REPRODUCIBLE, max_examples=75)
@given(JOBS | ANYTHING)
@example({})
@example({"input": {"prompt": "a"}})
@example({"id": "../../a", "input": {"prompt": "a"}})
@example({"id": "a" * 10_000, "input": {"prompt": "a"}})
@example({"id": "a", "input": {"prompt": "a"}, "policy": {"executionTimeout": 10**400}})
@example({"id": "a", "input": {"prompt": "a"}, "policy": {"executionTimeout": math.nan}})
@example({"id": "a", "input": {"prompt": "a"}, "policy": {"executionTimeout": 1}})
def test_a_job_of_any_form_is_answered(refusing, job):
    refusing.check_job(job)


def nested(depth):
    """An object in an object, and so on."""
    found = {}
    for _ in range(depth):
        found = {"a": found, "b": [found]} if depth < 12 else {"a": found}
    return found


@pytest.mark.parametrize(
    "field", ["prompt", "loras", "keyframes", "image", "output", "upload_url", "colour", "seed"]
)
def test_deep_and_wide_values_are_refused(refusing, field):
    for value in (nested(900), [nested(900)], [{}] * 100_000, [[0]] * 100_000):
        answer = refusing.check(**{"prompt": "a", field: value})
        assert answer["error_code"] == "BAD_REQUEST"


def test_a_hundred_thousand_unknown_fields_are_refused_in_few_words(refusing):
    unknown = {f"promp{number}": number for number in range(100_000)}
    for data in (
        {"prompt": "a", **unknown},
        {"action": "health", **unknown},
        {"prompt": "a", "loras": [{"source": "dolly_in", **unknown}]},
        {"prompt": "a", "loras": [{"source": "x", "strength": "5"}] * 100_000},
        {"prompt": "a", "keyframes": [{"image": "missing.png", "frame": 1}] * 100_000},
    ):
        answer = refusing.check(**data)
        assert answer["error_code"] == "BAD_REQUEST"
        assert len(answer["error"]) < 20_000


def test_secrets_of_a_job_are_in_no_log(refusing):
    answer = refusing.check_job(
        {
            "id": "job",
            "input": {
                "prompt": "planted prompt " * 2000,
                "negative_prompt": "planted prompt that is fine",
                "image_url": "http://10.0.0.1/a.png?key=planted-in-a-query",
                "upload_url": "https://10.0.0.1/k?X-Amz-Signature=planted-in-a-query",
            },
            "s3Config": {
                "accessId": "planted-in-a-job",
                "accessSecret": "planted-in-a-job",
                "bucketName": "b",
                "endpointUrl": "https://10.0.0.1?key=planted-in-a-query",
            },
        }
    )
    assert answer["error_code"] == "BAD_REQUEST"
    assert "planted-in" not in answer["error"]
    assert "BAD_REQUEST: prompt must be" in refusing.log.text  # what is looked through is the log


# --- pictures --------------------------------------------------------------------------------


def saved(kind, size=(64, 48), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, 120 if mode != "RGB" else (200, 30, 30)).save(out, kind, **options)
    return out.getvalue()


def png(**options):
    return saved("PNG", **options)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width, height, data=b"", *more):
    """A PNG whose header says what it likes."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated(kind, frames=40):
    out = io.BytesIO()
    pictures = [Image.new("RGB", (64, 48), (number, 0, 0)) for number in range(frames)]
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:])
    return out.getvalue()


SOUND = {
    **{kind: saved(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")},
    "an animated GIF": animated("GIF"),
    "an animated WebP": animated("WEBP"),
    "an animated PNG": animated("PNG"),
    "one bit": saved("PNG", mode="1"),
    "sixteen bits": saved("PNG", mode="I;16"),
    "a JPEG in CMYK": saved("JPEG", mode="CMYK"),
    "a PNG with a zip behind it": png() + b"PK\x03\x04" + b"\0" * 100,
}
HOSTILE = {
    "nothing": b"",
    "text": b"hello, I am a picture" * 10,
    "a script in SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
    "an entity bomb": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bb'>]><svg>&b;</svg>",
    "a web page": b"<!doctype html><script>alert(1)</script>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    "a zip": b"PK\x03\x04" + b"\0" * 100,
    "half a PNG": png()[:60],
    "half a JPEG": saved("JPEG")[:300],
    "only a PNG's signature": b"\x89PNG\r\n\x1a\n",
    "a PNG of 2**31 pixels an edge": png_of(2**31 - 1, 2**31 - 1),
    "a PNG of no pixels": png_of(0, 0),
    "a bomb of 60,000 pixels an edge": png_of(60_000, 60_000, b"\0" * 1_000_000),
    "a bomb within the limit": png_of(16_000, 4_000, b"\0" * 1000),
    "a strip": png_of(16_000, 2, b"\0" * 1000),
    "one pixel": saved("PNG", (1, 1)),
    "too little data": png_of(640, 480, b"\0" * 10),
    "a text chunk that is a bomb": png_of(
        64, 48, b"\0" * 9300, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 100_000_000))
    ),
    "a profile that is none": png(icc_profile=b"\xff" * 500),
    "a profile that is a bomb": png_of(
        64, 48, b"\0" * 9300, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 100_000_000))
    ),
    "EXIF that is none": saved("JPEG", exif=b"Exif\0\0" + b"\xff" * 500),
    "a chunk longer than the file": b"\x89PNG\r\n\x1a\n" + b"\x7f\xff\xff\xffIHDR" + b"\0" * 20,
    "a GIF that begins a script": b"GIF89a/*" + b"\xff" * 40 + b"*/=1;alert(1)",
    "a BMP of negative height": b"BM"
    + struct.pack("<IIIIiiHH", 54, 0, 54, 40, 64, -(2**31), 1, 24),
    "a TIFF whose directory is itself": b"II*\0\x08\0\0\0\x01\0" + b"\xff" * 12 + b"\x08\0\0\0",
    "a WebP of no size": b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0",
    "an AVIF's first bytes": saved("AVIF")[:40],
}
WARNED = pytest.mark.filterwarnings("ignore")  # also of bombs, which are then refused by size


def uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("data", SOUND.values(), ids=SOUND)
def test_a_sound_picture_of_any_kind_is_taken(refusing, data):
    assert refusing.check(prompt="a", image=uri(data))["error_code"] == "TOO_LARGE"
    assert "tokens" in refusing.check(prompt="a", last_image=uri(data))["error"]


@WARNED
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_picture_is_answered(refusing, data):
    answer = refusing.check(
        prompt="a", image=uri(data), keyframes=[{"image": uri(data), "frame": 8}]
    )
    assert answer["error_code"] in {"MEDIA_REFUSED", "TOO_LARGE", "BAD_REQUEST"}


@WARNED
@settings(REPRODUCIBLE, max_examples=75)
@given(
    st.sampled_from(sorted(SOUND)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=4),
    st.floats(0, 1),
)
def test_a_damaged_picture_is_answered(refusing, name, changes, length):
    data = bytearray(SOUND[name])
    for place, new in changes:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    whole = data[: max(1, int((0.3 + length) * len(data)))]
    answer = refusing.check(prompt="a", image=uri(bytes(whole)))
    assert answer["error_code"] in {"MEDIA_REFUSED", "TOO_LARGE", "BAD_REQUEST"}


# --- base64 ----------------------------------------------------------------------------------

TEXT = base64.b64encode(png()).decode()
BASE64 = {
    "blanks": " ".join(TEXT),
    "a blank at its end": TEXT + " ",
    "lines": "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)),
    "both alphabets": "+-/_" + TEXT,
    "no padding": TEXT.rstrip("=") + "A",
    "too much padding": TEXT + "====",
    "padding inside": TEXT[:8] + "==" + TEXT[8:],
    "a letter of another alphabet": TEXT[:8] + "é" + TEXT[8:],
    "a zero byte": TEXT[:8] + "\0" + TEXT[8:],
    "half of a pair": TEXT[:8] + "\ud800" + TEXT[8:],
    "40 MB of A": "A" * 40_000_000,
    "50 MB of blanks": "A" * 16 + " " * 50_000_000,
    "40 MB of padding": "A" * 16 + "=" * 40_000_000,
    "40 MB of lines": ("A" * 15 + "\n") * 2_500_000,
    "an unending head": "data:" + "a" * 5_000_000 + ",",
    "a head of many parts": "data:" + ";a=b" * 1_000_000 + ";base64," + TEXT,
    "no base64": "data:image/png," + TEXT,
    "a comma missing": "data:image/png;base64" + TEXT,
    "a URL inside": "data:text/html;base64,aHR0cDovLzEyNy4wLjAuMS8=",
}


@pytest.mark.parametrize("text", BASE64.values(), ids=BASE64)
@pytest.mark.parametrize("field", ["image", "image_base64"])
def test_odd_base64_is_answered(refusing, field, text):
    answer = refusing.check(prompt="a", **{field: text})
    assert answer["error_code"] in {"MEDIA_REFUSED", "TOO_LARGE", "BAD_REQUEST"}


@settings(REPRODUCIBLE, max_examples=50)
@given(st.text(alphabet="AQgw+/-_=\r\n\t ,;:", min_size=16, max_size=80), st.booleans())
def test_any_text_of_base64s_letters_is_answered(refusing, text, as_uri):
    answer = refusing.check(prompt="a", image=("data:image/png;base64," if as_uri else "") + text)
    assert answer["error_code"] in {"MEDIA_REFUSED", "BAD_REQUEST"}


# --- addresses -------------------------------------------------------------------------------

SPELLINGS = r"""
127.0.0.1 127.1 127.0.1 0177.0.0.1 0x7f.0.0.1 0x7f000001 2130706433 017700000001 127.0.0.1.
localhost LOCALHOST localhost. 0 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 169.254.169.254
169.254.170.2 168.63.129.16 224.0.0.1 255.255.255.255 198.18.0.1 192.0.2.1 [::1] [::] [::127.0.0.1]
[::ffff:127.0.0.1] [::ffff:7f00:1] [fe80::1] [fe80::1%25lo] [fc00::1] [fd00:ec2::254] [ff02::1]
[2002:7f00:1::] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2001:db8::1] [2001::1] [] [127.0.0.1] [v1.a]
[::1]] １２７.0.0.1 127。0。0。1 ⓛⓞⓒⓐⓛⓗⓞⓢⓣ ①②⑦.0.0.1 xn-- xn--a -.example a..b .. . *.example
user@127.0.0.1 user:pass@localhost 127.0.0.1:22 127.0.0.1:99999 127.0.0.1:-1 127.0.0.1:٨٠ 127.0.0.1:
pictures.example@127.0.0.1 pictures.example#@127.0.0.1 pictures.example\@127.0.0.1
127.0.0.1%00.example
"""
HOSTS = SPELLINGS.split()
ADDRESSES = [f"{scheme}://{host}/a.png" for host in HOSTS for scheme in ("http", "https")] + [
    "http:///a.png",
    "http:/127.0.0.1/",
    "http:127.0.0.1",
    "http://127.0.0.1\r\nHost: x/",
    "http://127.0.0.1/\r\nX: y",
    "http://127.0.0.1 /",
    "HTTP://127.0.0.1/",
    "hTTps://127.0.0.1/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://127.0.0.1/a.png",
    "dict://127.0.0.1:11211/stats",
    "jar:http://127.0.0.1!/",
    "ldap://127.0.0.1",
    "s3://bucket/key",
    "blob:http://127.0.0.1/a",
    "javascript:alert(1)",
    "//127.0.0.1/a.png",
    "http://" + "a" * 100_000,
    "http://" + "a." * 50_000 + "example",
    "http://a.example/" + "a" * 1_000_000,
    "http://a.example/?" + "planted-in-a-query" * 10_000,
]


@pytest.mark.parametrize("field", ["image_url", "last_image", "loras", "upload_url"])
def test_no_address_of_this_machine_or_its_network_is_asked(refusing, asked, field):
    for address in ADDRESSES if field == "image_url" else ADDRESSES[::3]:
        value = [{"source": address}] if field == "loras" else address
        if field == "loras" and len(address) < 200:
            value = [{"source": address + "?x=/a.safetensors"}]
        answer = refusing.check(prompt="a", **{field: value})
        assert answer["error_code"] in {"BAD_REQUEST", "MEDIA_REFUSED", "TOO_LARGE"}, address
    assert asked == []


@settings(REPRODUCIBLE, max_examples=40)
@given(st.text(alphabet="http:/\\@[]#?%.:0127af\u3002\uff11\u0661 ", max_size=24))
def test_any_address_is_answered(refusing, text):
    answer = refusing.check(prompt="a", image_url=f"http://{text}")
    assert answer["error_code"] in {"BAD_REQUEST", "MEDIA_REFUSED"}


def test_a_redirect_from_outside_leads_to_no_private_address(refusing, monkeypatch):
    """The first server stands for one on the internet: its number is taken for a public one."""
    from ltx2.media import address

    is_public, seen = address.is_public, []

    def public_the_first_time(number):
        seen.append(number)
        return len(seen) == 1 or is_public(number)

    for leads_to in (
        "http://127.0.0.1/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "//[::1]/",
    ):
        with serving({"/a.png": redirect(leads_to)}) as server:
            monkeypatch.setitem(address.PORTS, "http", server.port)
            monkeypatch.setattr(address, "is_public", public_the_first_time)
            seen.clear()
            answer = refusing.check(prompt="a", image_url="http://127.0.0.1/a.png")
            assert "public address" in answer["error"] or "by http or https" in answer["error"]
            assert len(server.asked) == 1


# --- clips -----------------------------------------------------------------------------------

SMALL = st.fixed_dictionaries(
    {
        "prompt": st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=30),
        "num_frames": st.integers(1, 9),
        "width": st.integers(64, 128),
        "height": st.integers(64, 128),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "generate_audio": st.booleans(),
        "spatial_upscaler": st.booleans(),
        "image": st.sampled_from(["a.png", uri(png())]),
        "image_strength": st.floats(0, 1),
        "output": st.sampled_from(OUTPUTS),
        "generation_id": st.text(max_size=30),
        "metadata": st.booleans(),
        "fps": st.sampled_from([24, 25, 60]),
    },
)


@pytest.mark.slow
@settings(REPRODUCIBLE, max_examples=6)
@given(SMALL)
def test_a_clip_that_fits_is_made_or_refused(making, data):
    answer = making.check(**data)
    if "error" not in answer:
        video = base64.b64decode(answer["video"], validate=True)
        assert len(video) == answer["bytes"]
        assert answer["generation_id"] == data.get("generation_id", "job")


def test_a_small_clip_is_made_of_a_file_in_the_workers_folder(making):
    answer = making.check(prompt="a", image="a.png", width=128, height=128, num_frames=9)
    assert base64.b64decode(answer["video"])[4:8] == b"ftyp"


def test_the_actions_are_answered(making):
    assert making.check(action="health")["status"] in {"ready", "starting"}
    assert set(making.check(action="schema")) == {"input", "result"}
    assert making.check(action="smoke")["ok"] is True
