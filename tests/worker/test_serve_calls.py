"""Who may call the local twin and with what: names, origins, keys, types, sizes and policies."""

import json
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from ltx2.media.address import is_loopback
from ltx2.serve import Rules, create_app
from tests.worker.standin_gate import StandInGate

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def calls():
    with TestClient(create_app(StandInGate()), base_url=LOCAL) as found:
        yield found


@pytest.fixture
def keyed():
    """A client of a server with a key, which it does not send by itself."""
    with TestClient(create_app(StandInGate(), key="open sesame"), base_url=LOCAL) as found:
        yield found


def refused(response, status):
    """The sentence of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:1", "127.8.8.8", "[::1]"])
def test_every_name_of_this_machine_is_answered(calls, host):
    assert calls.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["attacker.example", "localhost.attacker.example", "10.0.0.1", "0.0.0.0:8000", "[", ""]
)
def test_a_name_that_was_made_to_point_here_is_not_answered(calls, host):
    assert "answers to localhost only" in refused(calls.get("/health", headers={"host": host}), 403)


@pytest.mark.parametrize("origin", ["https://attacker.example", "http://127.0.0.1:9", "null"])
@pytest.mark.parametrize("path", ["/purge-queue", "/run", "/v2/local/run"])
def test_pages_of_other_origins_may_not_call(calls, origin, path):
    response = calls.post(path, json={"input": {}}, headers={"origin": origin})
    assert "other origins" in refused(response, 403)
    assert calls.get("/health").json()["jobs"]["completed"] == 0
    assert "access-control-allow-origin" not in response.headers


def test_a_page_of_the_servers_own_may_call(calls):
    assert calls.get("/health", headers={"origin": LOCAL}).status_code == 200


@pytest.mark.parametrize(
    "header", [{}, {"authorization": "open sesame"}, {"authorization": "Bearer öpen"}]
)
@pytest.mark.parametrize("call", [("GET", "/health"), ("POST", "/run"), ("GET", "/no-such")])
def test_a_server_with_a_key_answers_nobody_without_it(keyed, header, call):
    header = {name: value.encode("latin-1") for name, value in header.items()}
    response = keyed.request(*call, headers=header)
    assert "authorization: Bearer KEY" in refused(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert "sesame" not in response.text


def test_a_server_with_a_key_answers_whoever_has_it_under_any_name(keyed):
    headers = {"authorization": "Bearer open sesame", "host": "gpu.example:8000"}
    body = keyed.post("/runsync", json={"input": {}}, headers=headers).json()
    assert body["status"] == "COMPLETED"


@pytest.mark.parametrize("path", ["/run", "/runsync"])
@pytest.mark.parametrize("content", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken(calls, path, content):
    response = calls.post(path, content=b'{"input": {}}', headers={"content-type": content})
    assert "send content-type: application/json" in refused(response, 415)


def test_json_may_say_its_characters(calls):
    headers = {"content-type": "application/json; charset=utf-8"}
    assert calls.post("/run", content=b'{"input": {}}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body must be JSON"),
        (b"{", "the body must be JSON"),
        (b"\xff\xfe\x00", "the body must be JSON"),
        (b'{"input": {"seed": NaN}}', "NaN is no JSON"),
        (b"[" * 100_000, "the body must be JSON"),
        (b'{"input": {"seed": ' + b"9" * 5000 + b"}}", "the body must be JSON"),
        (b"[]", "must be an object"),
        (b"{}", "input must be a JSON object"),
        (b'{"input": "a ball"}', "input must be a JSON object"),
        (b'{"input": {}, "webhook": "file:///etc/passwd"}', "webhook must be an http(s) URL"),
        (b'{"input": {}, "webhook": "http://a:b/"}', "webhook must be an http(s) URL"),
        (b'{"input": {}, "webhook": 1}', "webhook must be an http(s) URL"),
        (b'{"input": {}, "s3Config": []}', "s3Config must be a JSON object"),
        (b'{"input": {}, "policy": []}', "policy must be a JSON object"),
        (b'{"input": {}, "policy": {"ttl": 9999}}', "policy.ttl must be 10000 to 604800000"),
        (b'{"input": {}, "policy": {"ttl": true}}', "policy.ttl must be a number"),
        (b'{"input": {}, "policy": {"executionTimeout": 1e99}}', "policy.executionTimeout must be"),
        (b'{"input": {}, "policy": {"lowPriority": 1}}', "policy.lowPriority must be true or"),
        (b'{"input": {}, "policy": {"TTL": 1}}', "policy.TTL is not known"),
    ],
)
def test_a_body_that_cannot_be_a_job_is_refused(calls, body, said):
    response = calls.post("/run", content=body, headers={"content-type": "application/json"})
    assert said in refused(response, 400)


def test_all_problems_of_a_body_are_told_at_once(calls):
    body = {"input": 1, "webhook": 2, "s3Config": 3, "policy": {"ttl": 4, "executionTimeout": "5"}}
    response = calls.post("/run", json=body)
    assert response.status_code == 400
    assert len(response.json()["problems"]) == 5


def test_a_key_that_means_nothing_to_the_platform_is_logged(calls, caplog):
    assert calls.post("/run", json={"input": {}, "inputs": {}}).status_code == 200
    assert "'inputs' means nothing to the platform" in caplog.text


def test_a_text_that_no_encoding_knows_comes_back_as_it_was_sent(calls):
    text = b'{"input": {"answer": {"prompt": "\\ud800"}}}'
    response = calls.post("/runsync", content=text, headers={"content-type": "application/json"})
    assert response.json()["output"] == {"prompt": "\ud800"}


@pytest.mark.parametrize(("path", "limit"), [("/run", 1000), ("/runsync", 2000)])
@pytest.mark.parametrize("factor", [1, 30])
def test_a_body_above_the_platforms_limit_is_refused(path, limit, factor):
    rules = Rules(run_bytes=1000, runsync_bytes=2000)
    with TestClient(create_app(StandInGate(), rules=rules), base_url=LOCAL) as calls:
        text = json.dumps({"input": {}}).encode()
        headers = {"content-type": "application/json"}
        fits = calls.post(path, content=text.ljust(limit), headers=headers)
        assert fits.status_code == 200
        large = calls.post(path, content=text.ljust(factor * limit + 1), headers=headers)
        assert f"takes {limit:,} bytes; send large pictures by URL" in refused(large, 413)


def test_the_limits_are_the_platforms():
    assert (Rules().size("run"), Rules().size("runsync")) == (10_000_000, 20_000_000)


@pytest.mark.parametrize("call", ["status/x", "stream/x"])
def test_a_job_that_is_not_there_is_said_so(calls, call):
    assert "there is no job 'x'" in refused(calls.get(f"/{call}"), 404)


@pytest.mark.parametrize("call", ["cancel/x", "retry/x"])
def test_nothing_is_done_to_a_job_that_is_not_there(calls, call):
    assert "there is no job 'x'" in refused(calls.post(f"/v2/local/{call}"), 404)


def test_a_call_that_the_platform_does_not_have_is_told_those_it_has(calls):
    assert "there is no GET /v2/local; the operations are run" in refused(
        calls.get("/v2/local"), 404
    )
    response = calls.get("/run")
    assert "there is no GET /run" in refused(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("module", ["ltx2.serve", "ltx2.serve.server", "ltx2.serve.app"])
def test_the_server_is_there_without_torch_and_without_runpods_package(module):
    heavy = ("torch", "diffusers", "transformers", "av", "runpod")
    code = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_describing_the_command_loads_nothing_that_a_server_needs():
    code = "import sys, ltx2.cli; ltx2.cli.build_parser(); print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.2", False), ("gpu.example", False),
        ("", False), ("127.1", False),
    ],
)  # fmt: skip
def test_only_names_that_can_mean_nothing_else_are_this_machine(host, is_it):
    assert is_loopback(host) is is_it
