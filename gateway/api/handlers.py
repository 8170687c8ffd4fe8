"""Every refusal as an envelope: the desk's, FastAPI's own, and of routes that do not exist; and of
a database that is away.
"""

from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.envelope import error_response, refusal_response
from gateway.database import AWAY, unavailable
from gateway.refusals import NotFound, Problem, Problems, Refusal

_TYPES = {404: "not_found_error", 413: "request_too_large"}


def add_handlers(app: FastAPI) -> None:
    """For every route of the app."""
    app.add_exception_handler(Refusal, _on_refusal)
    for away in AWAY:
        app.add_exception_handler(away, _on_away)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refusal_response(error)


async def _on_away(_request: Request, error: Exception) -> Response:
    return refusal_response(unavailable(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Queries and headers that are not as documented; a path that cannot be one is not there."""
    assert isinstance(error, RequestValidationError)
    faults = cast("Sequence[dict[str, Any]]", error.errors())
    if any(fault["loc"][0] == "path" for fault in faults):
        return refusal_response(NotFound(f"there is no {request.url.path[:200]}"))
    return refusal_response(Problems([_problem(fault) for fault in faults[:20]]))


def _problem(fault: dict[str, Any]) -> Problem:
    name = str(fault["loc"][-1])
    return Problem(field=name, message=f"{name}: {fault['msg']}")


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    call = f"{request.method} {request.url.path[:200]}"
    said = f"there is no {call}" if error.status_code in (404, 405) else str(error.detail)
    kind = _TYPES.get(error.status_code, "invalid_request_error")
    return error_response(
        error.status_code, {"type": kind, "message": said}, dict(error.headers or {})
    )
