"""docs/deployment.md shows what really works: its commands, its JSON, its curl and its Python."""

import base64
import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ltx2 import client as client_module
from ltx2.cli import build_parser, main
from ltx2.deploy.defaults import WEIGHTS
from ltx2.worker.answer import CODES
from tests.worker.job_api import JobApi, progress
from tests.worker.loopback import Reply

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
CLIP = b"clip"
RESULT = {
    "video": base64.b64encode(CLIP).decode(),
    "bytes": len(CLIP),
    "sha256": hashlib.sha256(CLIP).hexdigest(),
    "seed": 7,
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def commands():
    indented = re.findall(r"^    (ltx2 .+)$", PAGE, re.M)
    inline = re.findall(r"`(ltx2 [^`]*(?:--|create|ENDPOINT_ID)[^`]*)`", PAGE)
    return [line for line in dict.fromkeys((*indented, *inline)) if "…" not in line]


@pytest.fixture
def api():
    api = JobApi(key=None)
    api.script = [
        {"status": "IN_PROGRESS", "output": progress(0)},
        {"status": "COMPLETED", "output": RESULT},
    ]
    yield api
    api.close()


def test_the_page_has_commands_and_blocks_of_each_kind():
    assert len(commands()) >= 8
    assert (len(blocks("json")), len(blocks("bash")), len(blocks("python"))) == (1, 2, 3)


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_page_is_one(line):
    arguments, unknown = build_parser().parse_known_args(shlex.split(line)[1:])
    assert unknown == []
    assert callable(arguments.run)


def test_the_body_of_the_page_is_what_the_command_above_it_prints(capsys, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    (line,) = (c for c in commands() if "deploy create" in c and "--image" in c)
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out == blocks("json")[0]


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_of_the_page_runs(block, api, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("photo.jpg")
    names = {}
    exec(compile(block.replace("ENDPOINT_ID", api.url), "page", "exec"), names)
    if "on_webhook" in names:
        with client_module.Client(api.url) as client:
            client.submit({"prompt": "x"})
        names["on_webhook"]({"id": "job-1"})
        names["on_webhook"]({"id": "job-1"})
    assert [file.read_bytes() for file in tmp_path.glob("*.mp4")] == [CLIP]


@pytest.mark.parametrize("block", blocks("bash"))
def test_the_curl_of_the_page_is_accepted(block, api):
    posted = api.answer

    def answer(call):
        assert call.headers["Authorization"] == "Bearer rpa_PAGE"
        if call.path.endswith("/runsync"):
            return Reply(body={"id": "s1", "status": "COMPLETED", "output": call.body["input"]})
        return posted(call)

    api.answer = answer
    script = block.replace("https://api.runpod.ai/v2/ENDPOINT_ID", api.url)
    script = script.replace("JOB_ID", "job-1")
    done = subprocess.run(
        ["bash", "-euc", script],
        env={"PATH": "/usr/bin:/bin", "RUNPOD_API_KEY": "rpa_PAGE"},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = re.findall(r'"status": "(\w+)"', done.stdout)
    assert answers in (["COMPLETED"], ["IN_QUEUE", "IN_PROGRESS", "CANCELLED"])


def test_the_page_explains_every_code_and_every_place_of_weights():
    trouble = PAGE[PAGE.index("## Troubleshooting") :]
    assert [code for code in CODES if f"`{code}`" not in trouble] == []
    assert [name for name in WEIGHTS if f"| `{name}` |" not in PAGE] == []


def test_every_variable_of_the_page_is_one_that_is_read():
    from ltx2.settings import known_variables

    named = set(re.findall(r"\b((?:LTX2|BUCKET|RUNPOD)_[A-Z_]+[A-Z])\b", PAGE))
    platform = {"RUNPOD_INIT_TIMEOUT", "RUNPOD_SECRET"}
    assert named - platform <= set(known_variables())


def test_the_prices_of_the_page_are_those_of_the_table():
    from ltx2.deploy.pools import PriceList

    table = PriceList.of_table()
    assert f"{table.date}" in PAGE
    for name in ("ADA_80_PRO", "BLACKWELL_96", "HOPPER_141"):
        assert f"${table.pool(name).hour:.2f} on an" in re.sub(r"\s+", " ", PAGE)


def test_the_body_of_the_page_is_json():
    assert json.loads(blocks("json")[0])["type"] == "QUEUE"
