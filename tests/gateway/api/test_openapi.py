"""The routes do what the OpenAPI document says, for requests that Schemathesis draws from it."""

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from gateway.api.generations import MOST_LISTED
from tests.gateway.api.site import Site

EXAMPLES = 8  # drawn for each operation
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
def site(module_database, tmp_path_factory):
    """With a past, on each kind of database."""
    made = Site(
        tmp_path_factory.mktemp("site"),
        database=module_database,
        calls_per_minute=1_000_000,
        queue=10_000,
    )
    made.core.accounts.grant(made.account.id, 1_000_000, "for many videos")
    made.runpod.enhanced = "{prompt}, at dusk"
    made.finished()
    yield made
    made.close()


@pytest.fixture(scope="module")
def document(site):
    return schemathesis.openapi.from_dict(site.client.get("/api/openapi.json").json())


def sent(site, case):
    """The answer to a drawn case, with the account's key in place of a drawn one."""
    drawn = case.as_transport_kwargs(base_url="https://gateway.example")
    names = ("method", "url", "params", "headers", "json", "data", "files")
    ready = requests.Request(**{name: drawn[name] for name in names if name in drawn}).prepare()
    headers = {
        name: text
        for name, text in ready.headers.items()
        if name.lower() not in ("authorization", "cookie")
    }
    return site.client.request(ready.method, ready.url, content=ready.body, headers=headers)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
        *((each, GenerationMode.NEGATIVE) for each in OPERATIONS if each not in TAKES_NOTHING),
    ],
)
def test_every_answer_is_one_that_the_document_has(site, document, operation, mode):
    method, _, path = operation.partition(" ")

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers_as_documented(case):
        answer = sent(site, case)
        assert answer.status_code not in (401, 403)
        case.validate_response(answer, checks=CHECKS)

    answers_as_documented()


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
