"""The routes do what the OpenAPI document says, for requests that Schemathesis draws from it."""

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from gateway.api.caller import CSRF_HEADER
from gateway.api.generations import MOST_LISTED
from tests.gateway.api.drawn import draw
from tests.gateway.api.site import refused

EXAMPLES = 10  # drawn for each operation; `--drawn 100` for a long run
OPERATIONS = [
    "GET /api/models",
    "GET /api/health",
    "GET /api/credits",
    "GET /api/credits/ledger",
    "GET /api/webhook-secrets",
    "POST /api/webhook-secrets",
    "POST /api/enhance-prompt",
    "POST /api/uploads",
    "GET /api/uploads/{upload_id}/content",
    "POST /api/generations/estimate",
    "POST /api/generations",
    "GET /api/generations",
    "GET /api/generations/{generation_id}",
    "DELETE /api/generations/{generation_id}",
    "POST /api/generations/{generation_id}/cancel",
    "PUT /api/generations/{generation_id}/favourite",
    "GET /api/generations/{generation_id}/events",
    "GET /api/generations/{generation_id}/content",
    "POST /v1/videos",
    "GET /v1/videos",
    "GET /v1/videos/{video_id}",
    "DELETE /v1/videos/{video_id}",
    "GET /v1/videos/{video_id}/content",
]
CHANGING = [each for each in OPERATIONS if not each.startswith("GET ")]
TAKES_NOTHING = (
    "GET /api/models",
    "GET /api/health",
    "GET /api/credits",
    "GET /api/webhook-secrets",
    "POST /api/webhook-secrets",
)
# Checks that need another case, or that the routes' own tests have.
CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.response_headers_conformance,
)


@pytest.fixture(scope="module")
def site(busy_site):
    return busy_site


@pytest.fixture(scope="module")
def document(site):
    return schemathesis.openapi.from_dict(site.client.get("/api/openapi.json").json())


def sent(client, case, **ours):
    """The answer to a drawn case, with the account's own credentials in place of drawn ones."""
    drawn = case.as_transport_kwargs(base_url="https://gateway.example")
    names = ("method", "url", "params", "headers", "json", "data", "files")
    ready = requests.Request(**{name: drawn[name] for name in names if name in drawn}).prepare()
    headers = {
        name: text
        for name, text in ready.headers.items()
        if name.lower() not in ("authorization", "cookie", *ours)
    }
    return client.request(ready.method, ready.url, content=ready.body, headers=headers | ours)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
        *((each, GenerationMode.NEGATIVE) for each in OPERATIONS if each not in TAKES_NOTHING),
    ],
)
def test_every_answer_is_one_that_the_document_has(
    request, site, visitor, document, operation, mode
):
    method, _, path = operation.partition(" ")

    def answers_as_documented(case, by_cookie):
        if by_cookie:
            answer = sent(visitor.browser, case, **{CSRF_HEADER: visitor.csrf})
        else:
            answer = sent(site.client, case)
        assert answer.status_code not in (401, 403)
        case.validate_response(answer, checks=CHECKS)

    draw(
        request,
        answers_as_documented,
        usually=EXAMPLES,
        case=document[path][method].as_strategy(generation_mode=mode),
        by_cookie=st.booleans(),
    )


@pytest.mark.parametrize("operation", CHANGING)
def test_a_cookie_without_its_pages_token_changes_nothing(site, visitor, operation):
    method, _, path = operation.partition(" ")
    for token in ({}, {CSRF_HEADER: "another"}):
        answer = visitor.browser.request(method, path, headers=token)
        assert "token" in refused(answer, 403, "permission_error")["message"]


def test_the_document_has_these_routes_and_no_others(site):
    document = site.client.get("/api/openapi.json").json()
    assert sorted(OPERATIONS) == sorted(
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    )


def test_the_document_says_which_routes_need_a_key(site):
    document = site.client.get("/api/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    open_to_all = {
        path
        for path, methods in document["paths"].items()
        for method in methods.values()
        if not method.get("security")
    }
    assert open_to_all == {"/api/models", "/api/health"}


@pytest.mark.parametrize("path", ["/api/generations", "/v1/videos"])
def test_calls_that_wait_for_each_other_are_refused_by_no_conflict(site, path):
    answers = site.client.get("/api/openapi.json").json()["paths"][path]["post"]["responses"]
    assert "409" not in answers
    assert {"402", "422", "503"} <= set(answers)


def test_the_form_of_the_document_has_what_the_desk_takes(site):
    document = site.client.get("/api/openapi.json").json()
    body = document["paths"]["/api/generations"]["post"]["requestBody"]
    form = body["content"]["application/json"]["schema"]
    assert form["required"] == ["prompt"]
    assert {"prompt", "image", "image_uri", "last_frame_uri", "webhook_url", "model"} <= set(
        form["properties"]
    )
    assert "generation_id" not in form["properties"]
    asked = {"limit": MOST_LISTED}
    assert site.client.get("/api/generations", params=asked).status_code == 200
