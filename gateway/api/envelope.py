"""The envelope of an error: `{"type": "error", "error": {...}, "request_id": ...}`."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway import logs
from gateway.api.ranges import Unsatisfiable
from gateway.refusals import Limited, Problems, Refusal, TooLarge, Unaffordable

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "insufficient_funds_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "idempotency_error",
    "rate_limit_error",
    "concurrency_limit_error",
    "api_error",
    "service_unavailable",
]


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    param: str | None = Field(description="The field; null for the request as a whole.")
    message: str = Field(description="What is wrong and what would be accepted.")
    allowed: list[str | int] | None = Field(
        default=None, description="The values that are accepted."
    )


class ErrorDetail(BaseModel):
    """What was refused, and why."""

    type: ErrorType
    message: str
    param: str | None = Field(default=None, description="The field of the first problem.")
    allowed: list[str | int] | None = Field(default=None, description="What that field accepts.")
    problems: list[Fault] | None = Field(default=None, description="Every problem of a form.")
    required: int | None = Field(default=None, description="Credits that are needed.")
    available: int | None = Field(default=None, description="Credits that are there.")


class ErrorBody(BaseModel):
    """Every answer of 400 and above."""

    type: Literal["error"] = "error"
    error: ErrorDetail
    request_id: str | None = Field(description="The same as in the header x-request-id.")


def refusal_response(refusal: Refusal) -> JSONResponse:
    """A refusal as its response."""
    detail: dict[str, Any] = {"type": refusal.type, "message": str(refusal)}
    headers: dict[str, str] = {}
    match refusal:
        case Problems(problems=problems):
            faults = [
                {
                    "param": each.field,
                    "message": each.message,
                    **({} if each.allowed is None else {"allowed": list(each.allowed)}),
                }
                for each in problems
            ]
            detail |= faults[0] | {"problems": faults}
            detail["message"] = str(refusal)
        case Unaffordable(required=required, available=available):
            detail |= {"required": required, "available": available}
        case Limited(retry_after=seconds):
            headers["retry-after"] = str(seconds)
        case Unsatisfiable(size=size):
            headers["content-range"] = f"bytes */{size}"
        case TooLarge():
            headers["connection"] = "close"  # what is still to come is not read
        case _:
            pass
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return error_response(refusal.status, detail, headers)


def error_response(
    status: int, detail: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error's envelope."""
    asking = logs.current.get()
    body = {
        "type": "error",
        "error": dict(detail),
        "request_id": None if asking is None else asking.request_id,
    }
    return JSONResponse(body, status, headers=dict(headers or {}))
