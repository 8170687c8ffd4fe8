"""The gateway's image and its composition: linted, without torch, and true to the settings."""

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ltx2.gateway_settings import GatewaySettings
from ltx2.setting_rows import rows
from scripts.lock import GATEWAY_USES
from tests.rules.tree import ROOT

DOCKERFILE = (ROOT / "gateway" / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "gateway" / "compose.yaml").read_text())
BASE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.M)


def test_the_linter_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "gateway/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_are_built_on_one_digest():
    worker = BASE.search((ROOT / "Dockerfile").read_text())
    gateway = BASE.search(DOCKERFILE)
    assert worker is not None
    assert gateway is not None
    assert gateway[1] == worker[1]


def test_the_builder_is_sent_what_is_copied_and_no_secret():
    copied = {
        source.removeprefix("./")
        for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in words.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    sent = (ROOT / "gateway" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == copied
    assert sent.index("gateway/.env") > sent.index("!gateway")


@pytest.mark.parametrize("bridge", ["172.17.0.1", "172.31.5.1"])
def test_the_composed_gateway_believes_the_proxy_before_it_and_no_caller(bridge):
    value = COMPOSE["services"]["gateway"]["environment"]["FORWARDED_ALLOW_IPS"]
    trusted = re.fullmatch(r"\$\{FORWARDED_ALLOW_IPS:-(.+)\}", value)[1]
    seen = []

    async def app(scope, _receive, _send):
        seen.append((scope["client"][0], scope["scheme"]))

    for client in (bridge, "203.0.113.9"):
        said = {"x-forwarded-for": "198.51.100.1, 203.0.113.7", "x-forwarded-proto": "https"}
        headers = [(name.encode(), text.encode()) for name, text in said.items()]
        scope = {"type": "http", "scheme": "http", "client": (client, 1), "headers": headers}
        asyncio.run(ProxyHeadersMiddleware(app, trusted_hosts=trusted)(scope, None, None))
    assert seen == [("203.0.113.7", "https"), ("203.0.113.9", "http")]


def test_the_image_does_not_run_as_root_and_takes_only_the_lock():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.M) == ["1000"]
    installs = re.findall(r"pip install [^\n&]*", DOCKERFILE)
    assert installs
    assert all("--no-deps" in each for each in installs)


def test_the_gateway_runs_on_the_packages_of_its_image():
    # What is imported, at whatever depth, comes from Python, from us or from the gateway's lock.
    code = (
        "import sys, pkgutil, importlib, gateway, ltx2.cli\n"
        "for each in pkgutil.walk_packages(gateway.__path__, 'gateway.'):\n"
        "    if 'versions' not in each.name: importlib.import_module(each.name)\n"
        "ltx2.cli.build_parser()\n"
        "from ltx2.describe import describe; describe('tiny')\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'runpod', 'safetensors', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []
    locked = (ROOT / "requirements-gateway.lock").read_text()
    assert all(f"\n{name}==" in locked for name in GATEWAY_USES)


def test_the_composition_sets_only_what_there_is():
    gateway = COMPOSE["services"]["gateway"]
    known = {variable for variable, _, _ in rows(GatewaySettings)}
    assert set(gateway["environment"]) <= known | {"FORWARDED_ALLOW_IPS"}  # the server's own
    assert gateway["build"] == {"context": "..", "dockerfile": "gateway/Dockerfile"}
    assert gateway["depends_on"]["database"]["condition"] == "service_healthy"
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])
    password = COMPOSE["services"]["database"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${POSTGRES_PASSWORD:?")
