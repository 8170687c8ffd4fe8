"""Routes for machines: alive, ready, healthy, and the numbers that Prometheus reads."""

import hmac
import threading
import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.api import bodies
from gateway.api.reception import Health, Reception
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.refusals import Unauthorised
from ltx2.media.address import is_loopback

LOOK_SECONDS = 10.0  # that what was found holds: anybody may ask, and the worker is far


class _Recent:
    """What was found a moment ago; one caller looks, the others wait for it."""

    def __init__(self, look: Callable[[], Health], clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[float, Health] | None = None

    def get(self) -> Health:
        """What is found, or was not long ago."""
        with self._lock:
            if self._found is None or self._clock() - self._found[0] >= LOOK_SECONDS:
                self._found = (self._clock(), self._look())
            return self._found[1]


def router(
    desk: Reception,
    metrics: Metrics,
    *,
    metrics_key: str | None,
    version: str,
    clock: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """The routes. `metrics_key` is the bearer that Prometheus sends; without one only this machine
    may read the numbers.
    """
    api = APIRouter(tags=["health"])
    recent = _Recent(desk.health, clock)

    @api.get("/livez", include_in_schema=False)
    async def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @api.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        """Whether calls should be sent here: the database can be used. A worker that is away does
        not count, as generations wait for it.
        """
        if desk.ready():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "the database cannot be used"}, 503)

    @api.get(
        "/api/health",
        response_model=bodies.HealthBody,
        responses={503: {"model": bodies.HealthBody, "description": "A part does not work."}},
    )
    def health() -> Response:
        """Every part, with what is wrong. Needs no key."""
        found = recent.get()
        body = bodies.HealthBody(
            status="ok" if found.ok else "degraded",
            fake=found.fake,
            checks=dict(found.checks),
            version=version,
        )
        return JSONResponse(body.model_dump(mode="json"), 200 if found.ok else 503)

    @api.get("/metrics", include_in_schema=False)
    def numbers(request: Request) -> Response:
        """The numbers, for those who may read them."""
        if metrics_key is None:
            if request.client is None or not is_loopback(request.client.host):
                raise Unauthorised("set a key for metrics to read them from another machine")
        else:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {metrics_key}".encode()):
                raise Unauthorised("send Authorization: Bearer and the key for metrics")
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    return api
