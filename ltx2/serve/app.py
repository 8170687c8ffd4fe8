"""The routes of RunPod's job API, at /v2/{endpoint} for any endpoint and at the root."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from ltx2.errors import BadRequest
from ltx2.serve.endpoint import Endpoint, Gate
from ltx2.serve.guard import Guard
from ltx2.serve.refusal import Refusal
from ltx2.serve.rules import Kind, Rules
from ltx2.serve.submission import read_submission

OPERATIONS = "run, runsync, status/ID, stream/ID, cancel/ID, retry/ID, purge-queue, health"
WAIT = (1_000, 300_000)  # milliseconds, the platform's bounds
# A body that is too long is read on, so that its sender sees the answer, but not for ever.
PATIENCE = 5


def create_app(
    gate: Gate,
    *,
    rules: Rules | None = None,
    key: str | None = None,
    load: Callable[[Any], object] | None = None,
    renew: Callable[[], Gate] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """RunPod's job API over a gate; the worker's is `ltx2.worker.gate.Gate`.

    With a `key` every call must bring it; without one only calls to a loopback name are answered.
    `load`, `renew` and `clock` are those of `Endpoint`, which is the app's `state.endpoint`.
    """
    serving = Endpoint(gate, rules=rules or Rules(), load=load, renew=renew, clock=clock)

    @asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        serving.open()
        try:
            yield
        finally:
            await serving.close()

    operations = routes(serving)
    app = Starlette(
        routes=[*operations, Mount("/v2/{endpoint}", routes=operations)],
        lifespan=life,
        middleware=[Middleware(cast("Any", Guard), key=key, refuse=refused)],
        exception_handlers={
            Refusal: _on_refusal,
            BadRequest: _on_bad_request,
            HTTPException: _on_http,
        },
    )
    app.router.redirect_slashes = False  # the platform has one spelling of each
    app.state.endpoint = serving
    return app


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """One route for each operation of the platform."""

    async def run(request: Request) -> Response:
        job = endpoint.submit("run", read_submission(await body(request, "run", endpoint.rules)))
        return answer({"id": job.id, "status": "IN_QUEUE"})

    async def runsync(request: Request) -> Response:
        seconds = _milliseconds(request, "wait", *WAIT) or endpoint.rules.wait_seconds
        text = await body(request, "runsync", endpoint.rules)
        job = endpoint.submit("runsync", read_submission(text))
        return answer((await endpoint.finished(job, seconds)).body())

    async def status(request: Request) -> Response:
        job = endpoint.find(_job_id(request))
        seconds = _milliseconds(request, "ttl", 1, 7 * 86_400_000)
        if seconds is not None:
            endpoint.forget_after(job, seconds)
        return answer(job.body())

    async def stream(request: Request) -> Response:
        # A handler that is no generator streams nothing: its progress is in /status, here as there.
        job = endpoint.find(_job_id(request))
        return answer({"status": job.body()["status"], "stream": []})

    async def cancel(request: Request) -> Response:
        return answer(brief(endpoint.cancel(_job_id(request)).body()))

    async def retry(request: Request) -> Response:
        return answer(brief(endpoint.retry(_job_id(request)).body()))

    async def purge(_request: Request) -> Response:
        return answer({"removed": endpoint.purge(), "status": "completed"})

    async def health(_request: Request) -> Response:
        return answer(endpoint.health())

    table: tuple[tuple[str, Callable[..., Any], list[str]], ...] = (
        ("/run", run, ["POST"]),
        ("/runsync", runsync, ["POST"]),
        ("/status/{job}", status, ["GET", "POST"]),
        ("/stream/{job}", stream, ["GET", "POST"]),
        ("/cancel/{job}", cancel, ["POST"]),
        ("/retry/{job}", retry, ["POST"]),
        ("/purge-queue", purge, ["POST"]),
        ("/health", health, ["GET"]),
    )
    return [Route(path, call, methods=methods) for path, call, methods in table]


async def body(request: Request, kind: Kind, rules: Rules) -> bytes:
    """A JSON request's body. Raises Refusal for another type, and for more than is taken.

    Only JSON: a form is what a page of a stranger's could post from a browser without asking.
    """
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "application/json":
        raise Refusal(415, f"send content-type: application/json; got {content or 'none'}")
    limit, parts, length = rules.size(kind), list[bytes](), 0
    async for part in request.stream():
        length += len(part)
        if length > PATIENCE * limit:
            break
        if length <= limit:
            parts.append(part)
    if length > limit:
        raise Refusal(413, f"/{kind} takes {limit:,} bytes; send large pictures by URL")
    return b"".join(parts)


def answer(document: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON response. Plain ASCII, so that nothing a caller sent can make it unwritable."""
    return Response(json.dumps(document), status, media_type="application/json")


def brief(document: Mapping[str, Any]) -> dict[str, Any]:
    """What /cancel and /retry say of a job."""
    return {"id": document["id"], "status": document["status"]}


def refused(refusal: Refusal) -> Response:
    """A refusal as a response."""
    response = answer({"error": str(refusal)}, refusal.status)
    if refusal.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _job_id(request: Request) -> str:
    return str(request.path_params["job"])


def _milliseconds(request: Request, name: str, low: int, high: int) -> float | None:
    """A time in the query, in seconds; None where there is none. Raises Refusal."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not low <= int(text[:12]) <= high:
        raise Refusal(400, f"{name} must be {low} to {high} milliseconds; got {text[:40]!r}")
    return int(text[:12]) / 1000


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


async def _on_bad_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    return answer({"error": str(error), "problems": error.problems}, error.status)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    call = f"{request.method} {request.url.path}"
    said = f"there is no {call}; the operations are {OPERATIONS}, at /v2/ENDPOINT or at the root"
    response = answer({"error": said}, error.status_code)
    response.headers.update(error.headers or {})
    return response
