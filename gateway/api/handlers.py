"""Every refusal as an envelope: the desk's, FastAPI's own, and of routes that do not exist; and of
a database that is away.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.envelope import error_response, refusal_response
from gateway.database import AWAY, unavailable
from gateway.refusals import NotFound, Problem, Problems, Refusal

# How the studio says no to a browser.
Page = Callable[[Request, Refusal], Response]
_NO_PAGES = ("/api/", "/v1/", "/webhooks/")
_TYPES = {404: "not_found_error", 413: "request_too_large"}


def add_handlers(app: FastAPI, page: Page | None = None) -> None:
    """For every route of the app. `page` answers browsers that asked for a page, where there is
    none at that address or its query is wrong.
    """
    app.add_exception_handler(Refusal, _on_refusal)
    for away in AWAY:
        app.add_exception_handler(away, _on_away)
    app.add_exception_handler(RequestValidationError, partial(_on_invalid, page))
    app.add_exception_handler(HTTPException, partial(_on_http, page))


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refusal_response(error)


async def _on_away(_request: Request, error: Exception) -> Response:
    return refusal_response(unavailable(error))


async def _on_invalid(page: Page | None, request: Request, error: Exception) -> Response:
    """Queries and headers that are not as documented; a path that cannot be one is not there."""
    assert isinstance(error, RequestValidationError)
    faults = cast("Sequence[dict[str, Any]]", error.errors())
    if any(fault["loc"][0] == "path" for fault in faults):
        refusal = NotFound(f"there is no {request.url.path[:200]}")
    else:
        refusal = Problems([_problem(fault) for fault in faults[:20]])
    if page is not None and _wants_page(request):
        return await run_in_threadpool(page, request, refusal)
    return refusal_response(refusal)


def _wants_page(request: Request) -> bool:
    """Whether a browser shows the answer to a person."""
    asked = "text/html" in request.headers.get("accept", "")
    return asked and not request.url.path.startswith(_NO_PAGES)


def _problem(fault: dict[str, Any]) -> Problem:
    name = str(fault["loc"][-1])
    return Problem(field=name, message=f"{name}: {fault['msg']}")


async def _on_http(page: Page | None, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    call = f"{request.method} {request.url.path[:200]}"
    missing = error.status_code in (404, 405)
    said = f"there is no {call}" if missing else str(error.detail)
    if page is not None and _wants_page(request):
        refusal = NotFound(said) if missing else Problems([Problem(field=None, message=said)])
        return await run_in_threadpool(page, request, refusal)
    kind = _TYPES.get(error.status_code, "invalid_request_error")
    return error_response(
        error.status_code, {"type": kind, "message": said}, dict(error.headers or {})
    )
