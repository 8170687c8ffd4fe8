"""Routes for machines: alive, ready, healthy, and the numbers that Prometheus reads."""

import hmac

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.api import bodies
from gateway.api.reception import Reception
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.refusals import Unauthorised
from ltx2.media.address import is_loopback


def router(
    desk: Reception, metrics: Metrics, *, metrics_key: str | None, version: str
) -> APIRouter:
    """The routes. `metrics_key` is the bearer that Prometheus sends; without one only this machine
    may read the numbers.
    """
    api = APIRouter(tags=["health"])

    @api.get("/livez", include_in_schema=False)
    async def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @api.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        """Whether calls should be sent here: the database can be used. A worker that is away does
        not count, as generations wait for it.
        """
        database = desk.health().checks.get("database", "ok")
        return JSONResponse({"status": database}, 200 if database == "ok" else 503)

    @api.get(
        "/api/health",
        response_model=bodies.HealthBody,
        responses={503: {"model": bodies.HealthBody, "description": "A part does not work."}},
    )
    def health() -> Response:
        """Every part, with what is wrong. Needs no key."""
        found = desk.health()
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
