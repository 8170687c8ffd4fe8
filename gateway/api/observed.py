"""Around every call: an id, one log line, its numbers, and an envelope for what went wrong."""

import logging
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import logs
from gateway.api.envelope import error_response
from gateway.metrics import Metrics
from ltx2.worker.json_lines import log_event

logger = logging.getLogger(__name__)
UNMATCHED = "unmatched"
# Asked every few seconds by machines; they would bury the log.
_QUIET = frozenset({"/api/health", "/livez", "/readyz", "/metrics"})


class Observed:
    """Around everything but the headers that every answer has.

    Logged is a route's template, never the path or the query: they hold the tokens of webhooks
    and what people search for.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and say so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asking = logs.Asking(request_id=new_request_id())
        scope.setdefault("state", {})["request_id"] = asking.request_id
        token = logs.current.set(asking)
        began, answer = time.perf_counter(), _Answer()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.seconds = time.perf_counter() - began
                MutableHeaders(scope=message)["x-request-id"] = asking.request_id
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            logger.exception("a call failed")
            if answer.status is None:
                failed = error_response(500, _INTERNAL)
                await failed(scope, receive, observed)
        finally:
            self._say(scope, answer, time.perf_counter() - began)
            logs.current.reset(token)

    def _say(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        route = route_of(scope)
        status = answer.status or 499  # the caller went before there was an answer
        waited = seconds if answer.seconds is None else answer.seconds
        self._metrics.answered(scope["method"], route, status, waited)
        if route in _QUIET and status < 400:
            return
        log_event(
            logger,
            "call",
            level=logging.ERROR if status >= 500 else logging.INFO,
            method=scope["method"],
            route=route,
            status=status,
            seconds=round(waited, 4),
            subject=scope.get("path_params", {}).get("generation_id"),
        )


class _Answer:
    """What was answered, and after how long."""

    status: int | None = None
    seconds: float | None = None


_INTERNAL = {
    "type": "api_error",
    "message": "Something went wrong here. Name the request id if you ask about it.",
}


def new_request_id() -> str:
    """An id for a call, `req_` and 16 characters."""
    return f"req_{secrets.token_urlsafe(12)}"


def route_of(scope: Scope) -> str:
    """The template of the route that took a call; one word for all that none took."""
    return str(getattr(scope.get("route"), "path", UNMATCHED))
