"""Routes for machines: alive, ready, healthy, and the numbers that Prometheus reads."""

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.api import bodies
from gateway.api.reception import Health, Reception
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.refusals import Unauthorised
from ltx2.media.address import is_loopback

logger = logging.getLogger(__name__)
LOOK_SECONDS = 10.0  # that what was found holds: anybody may ask, and the worker is far
PATIENCE_SECONDS = 4.0  # that a caller waits for a look; monitors give up soon after


class _Recent:
    """What was found a moment ago. One look at a time, on a thread of its own: callers wait for it
    without one, since a part that hangs must not take the threads of all other calls.
    """

    def __init__(
        self, look: Callable[[], Health], clock: Callable[[], float], patience: float
    ) -> None:
        self._look = look
        self._clock = clock
        self._patience = patience
        self._lock = threading.Lock()
        self._found: tuple[float, Health] | None = None
        self._looking: Future[Health] | None = None

    async def get(self) -> Health | None:
        """What is found, or was not long ago; None where that takes longer than `patience`."""
        with self._lock:
            if self._found is not None and self._clock() - self._found[0] < LOOK_SECONDS:
                return self._found[1]
            looking = self._looking or self._begin()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(looking), self._patience)
        except TimeoutError:
            return None

    def _begin(self) -> Future[Health]:
        looking = self._looking = Future[Health]()
        looking.set_running_or_notify_cancel()  # a caller that leaves does not end it
        threading.Thread(target=self._run, args=(looking,), name="health", daemon=True).start()
        return looking

    def _run(self, looking: Future[Health]) -> None:
        try:
            found = self._look()
        except Exception as error:
            logger.exception("the look at the parts failed")
            with self._lock:
                self._looking = None
            looking.set_exception(error)  # each caller answers it as a fault of ours
            return
        with self._lock:
            self._looking = None
            self._found = (self._clock(), found)
        looking.set_result(found)


def router(
    desk: Reception,
    metrics: Metrics,
    *,
    metrics_key: str | None,
    version: str,
    clock: Callable[[], float] = time.monotonic,
    patience: float = PATIENCE_SECONDS,
    working: Callable[[], bool] = lambda: True,
) -> APIRouter:
    """The routes. `metrics_key` is the bearer that Prometheus sends; without one only this machine
    may read the numbers. `patience` is the seconds that a caller waits for a look at the parts.
    `working`: whether what nobody waits for is done, such as submitting.
    """
    api = APIRouter(tags=["health"])
    recent = _Recent(desk.health, clock, patience)

    @api.get("/livez", include_in_schema=False)
    async def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @api.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        """Whether calls should be sent here: the database can be used, and what is accepted is
        worked at. A worker that is away does not count, as generations wait for it.
        """
        if not desk.ready():
            return JSONResponse({"status": "the database cannot be used"}, 503)
        if not working():
            return JSONResponse(
                {"status": "the loops do not tell that they run; restart this if it stays so"}, 503
            )
        return JSONResponse({"status": "ok"})

    @api.get(
        "/api/health",
        response_model=bodies.HealthBody,
        responses={503: {"model": bodies.HealthBody, "description": "A part does not work."}},
    )
    async def health() -> Response:
        """Every part, with what is wrong. Needs no key."""
        found = await recent.get()
        if found is None:
            told = {"parts": f"no answer from all of them within {patience:g} s"}
            found = Health(checks=told, fake=desk.fake)
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
