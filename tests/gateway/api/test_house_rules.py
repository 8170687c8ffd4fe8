"""What holds for every answer: envelope, request id, headers, hosts, health, numbers and log."""

import io
import json
import logging

import pytest

from gateway import logs
from gateway.api.hosts import host_of
from gateway.api.security import page_policy
from ltx2.worker.json_lines import log_event
from tests.gateway.api.site import FORM, Site, refused


def test_what_is_not_there_is_told_in_the_envelope(client):
    error = refused(client.get("/api/nothing"), 404, "not_found_error")
    assert error["message"] == "there is no GET /api/nothing"
    refused(client.patch("/api/credits"), 405, "invalid_request_error")


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400,
         "invalid_request_error"),
        ({"content": b"[]", "headers": {"content-type": "application/json"}}, 400,
         "invalid_request_error"),
        ({"data": {"prompt": "a"}}, 415, "invalid_request_error"),
        ({"content": b"{}"}, 415, "invalid_request_error"),
        ({"content": b" " * (256 * 2**10 + 1), "headers": {"content-type": "application/json"}},
         413, "request_too_large"),
    ],
)  # fmt: skip
def test_a_body_is_a_json_object_of_a_bounded_size(client, sent, status, kind):
    refused(client.post("/api/generations", **sent), status, kind)


def test_a_body_without_a_length_is_bounded_as_well(client):
    pieces = (b" " * 2**20 for _ in range(30))
    headers = {"content-type": "application/json"}
    answer = client.post("/api/generations", content=pieces, headers=headers)
    refused(answer, 413, "request_too_large")


def test_every_answer_has_an_id_of_its_own(client):
    ids = {client.get("/api/credits").headers["x-request-id"] for _ in range(3)}
    ids.add(client.get("/api/nothing").headers["x-request-id"])
    assert len(ids) == 4
    assert all(each.startswith("req_") for each in ids)


def test_a_fault_of_ours_is_told_without_its_inside(site, client, caplog):
    site.core.database.engine.dispose()

    def broken(*_args, **_options):
        raise RuntimeError("the secret inside")

    site.app.state.core.front.credits = broken
    with caplog.at_level(logging.ERROR):
        answer = client.get("/api/credits")
    error = refused(answer, 500, "api_error")
    assert "secret" not in str(answer.json())
    assert "request id" in error["message"]
    assert "the secret inside" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # its file is taken away
def test_a_database_that_is_away_is_no_fault_of_ours_and_may_come_back(site, client, tmp_path):
    visitor = site.browser(accept="text/html")
    assert visitor.post("/sign-in", data={"key": site.key, "next": "/"}).status_code == 303
    files = [tmp_path / f"gateway.db{end}" for end in ("", "-wal", "-shm")]
    site.core.database.engine.dispose()
    there = [each for each in files if each.exists()]
    for each in there:
        each.rename(each.with_name(f"away-{each.name}"))
    files[0].mkdir()
    error = refused(client.get("/api/credits"), 503, "service_unavailable")
    assert error["message"] == "the database cannot be reached now; try again in a moment"
    refused(client.post("/api/generations", json=FORM), 503, "service_unavailable")
    page = visitor.get("/library")
    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert "try again in a moment" in page.text
    assert client.get("/readyz").status_code == 503
    files[0].rmdir()
    for each in there:
        each.with_name(f"away-{each.name}").rename(each)
    assert client.get("/api/credits").json()["available"] == 500
    assert visitor.get("/library").status_code == 200


def test_answers_of_the_api_run_nothing_and_are_kept_nowhere(client):
    headers = client.get("/api/credits").headers
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "script-src" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["strict-transport-security"] == "max-age=31536000"


def test_pages_run_our_own_scripts_only(site):
    page = site.browser().get("/", follow_redirects=True)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == parts["style-src"] == parts["form-action"] == "'self'"
    assert parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert "unsafe" not in policy


def test_a_store_s_host_may_show_videos_and_nothing_else():
    parts = dict(each.split(" ", 1) for each in page_policy(["https://b.example"]).split("; "))
    assert parts["media-src"] == "'self' blob: https://b.example"
    assert parts["img-src"].endswith("https://b.example")
    assert parts["script-src"] == "'self'"


def test_a_studio_of_one_s_own_answers_to_its_machine_s_names_only(tmp_path, database):
    site = Site(tmp_path, database=database, local_account="me", public_url=None)
    try:
        browser = site.browser()
        rebound = browser.get("/api/models", headers={"host": "evil.example"})
        refused(rebound, 421, "invalid_request_error")
        for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
            assert browser.get("/api/models", headers={"host": host}).status_code == 200
        page = browser.get("/", headers={"host": "localhost"}, follow_redirects=True)
        assert page.status_code == 200
        assert {each.name for each, _, _ in site.core.accounts.all()} == {"me", "Ada"}
    finally:
        site.close()


@pytest.mark.parametrize(
    ("header", "name"),
    [("Example.COM", "example.com"), ("a:80", "a"), ("[::1]:80", "::1"), ("[::1]", "::1")],
)
def test_a_host_header_names_a_host(header, name):
    assert host_of(header) == name


def test_health_needs_no_key_and_names_what_does_not_work(site):
    anybody = site.browser()
    healthy = anybody.get("/api/health")
    assert healthy.status_code == 200
    assert healthy.json()["checks"] == {"database": "ok", "worker": "ok", "store": "ok"}
    assert (healthy.json()["status"], healthy.json()["fake"]) == ("ok", True)
    assert anybody.get("/livez").json() == anybody.get("/readyz").json() == {"status": "ok"}


def test_without_its_worker_the_gateway_is_degraded_but_ready(site):
    site.runpod.key = "another"
    anybody = site.browser()
    ill = anybody.get("/api/health")
    assert (ill.status_code, ill.json()["status"]) == (503, "degraded")
    assert ill.json()["checks"]["worker"] != "ok"
    assert anybody.get("/readyz").status_code == 200


def test_without_its_database_the_gateway_is_not_ready(site):
    site.app.state.core.front._database_check = lambda: "not usable"
    assert site.browser().get("/readyz").status_code == 503


def test_numbers_are_for_those_who_have_the_key(tmp_path, database):
    site = Site(tmp_path, database=database, metrics_key="scrape-me")
    try:
        site.create()
        site.client.get("/api/generations/gen_0")
        anybody = site.browser()
        refused(anybody.get("/metrics"), 401, "authentication_error")
        answer = anybody.get("/metrics", headers={"authorization": "Bearer scrape-me"})
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        route = 'method="GET",route="/api/generations/{generation_id}"'
        assert f'ltx2_gateway_requests_total{{{route},status="404"}} 1.0' in lines
        assert 'ltx2_gateway_generations{status="queued"} 1.0' in lines
        assert "gen_0" not in answer.text
    finally:
        site.close()


def test_numbers_without_a_key_are_for_this_machine(site):
    refused(site.browser().get("/metrics"), 401, "authentication_error")


@pytest.fixture
def log():
    """What the gateway writes to its log, and the loggers as they were afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    handler = logs.configure(secrets=["the-secret-value"], stream=stream)
    yield stream
    root.removeHandler(handler)
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_call_is_a_line_with_its_id_account_route_and_time(site, client, log):
    answer = client.post("/api/generations", json={**FORM, "prompt": "a private prompt"})
    (line,) = [each for each in lines(log) if each["message"] == "call"]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["account"] == site.account.id
    assert (line["method"], line["route"], line["status"]) == ("POST", "/api/generations", 202)
    assert line["seconds"] >= 0
    assert "a private prompt" not in log.getvalue()
    assert site.key not in log.getvalue()


def test_a_token_of_a_webhook_is_in_no_log(site, client, log):
    _, job = site.started()
    client.post(f"/webhooks/runpod/{job.token}", json=job.body())
    refused(client.post("/webhooks/runpod/forged-token", json={}), 404, "not_found_error")
    assert job.token not in log.getvalue()
    assert "forged-token" not in log.getvalue()
    assert [each["status"] for each in lines(log) if each.get("route", "").startswith("/web")] == [
        200, 404,
    ]  # fmt: skip


def test_secrets_and_keys_in_messages_are_hidden(log):
    logger = logging.getLogger("gateway.test")
    log_event(logger, "with the-secret-value", url="https://a.example/?X-Amz-Signature=abc")
    (line,) = lines(log)
    assert line["message"] == "with [secret]"
    assert "abc" not in line["url"]
    assert line["request_id"] is None


def test_what_cannot_be_told_fails_no_call(log, capfd):
    class Silent:
        def __str__(self):
            raise RuntimeError("no text")

    logger = logging.getLogger("gateway.test")
    log_event(logger, "told", value=Silent(), rate=float("inf"), request_id="another's")
    (told,) = lines(log)
    assert told["value"] == "[Silent without a text: RuntimeError]"
    assert (told["rate"], told["request_id"]) == ("inf", None)
    assert capfd.readouterr().err == ""


def test_a_traceback_is_part_of_its_line(log):
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("gateway.test").exception("failed")
    (line,) = lines(log)
    assert "ValueError: inside" in line["traceback"]
    assert line["level"] == "ERROR"


def test_a_forged_or_oversized_hint_is_refused_without_detail(client, site):
    _, job = site.started()
    error = refused(client.post("/webhooks/runpod/x", json={}), 404, "not_found_error")
    assert error["message"] == "not found"
    big = client.post(f"/webhooks/runpod/{job.token}", content=b" " * 1_000_001)
    refused(big, 413, "request_too_large")
