"""The app that answers: routes over a reception, and around them what holds for every call."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI

from gateway.api import account, files, generations, health
from gateway.api.caller import Guards
from gateway.api.handlers import Page, add_handlers
from gateway.api.hosts import Hosts
from gateway.api.limits import Buckets, Rate
from gateway.api.observed import Observed
from gateway.api.reception import Reception
from gateway.api.security import SecurityHeaders
from gateway.facade import routes as facade
from gateway.metrics import Metrics

TITLE = "LTX-2 gateway"
VERSION = "1"  # of the API: another one where a name leaves it or changes its meaning
DOCUMENT = "/api/openapi.json"
# A page with a long history asks for a picture of each clip.
ACCOUNT_RATE = Rate(per_minute=600, burst=200)
# Wrong keys from one address: a person mistypes, a machine guesses.
STRANGER_RATE = Rate(per_minute=20, burst=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What holds for the whole app.

    `hosts` are the names it answers to, all where there are none. `media_hosts` are origins of a
    store that pages may show videos from. `metrics_key` is what Prometheus sends. `secure` says
    that browsers come by https.
    """

    hosts: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()
    metrics_key: str | None = None
    secure: bool = False
    account_rate: Rate = ACCOUNT_RATE
    stranger_rate: Rate = STRANGER_RATE


def guards_of(
    desk: Reception, house: House, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
) -> Guards:
    """What stands at the doors of the API and of the pages: both count the same calls."""
    return Guards(
        desk=desk,
        accounts=Buckets(house.account_rate, clock),
        strangers=Buckets(house.stranger_rate, clock),
        metrics=metrics,
        secure=house.secure,
    )


def api_app(
    guards: Guards,
    house: House,
    *,
    more: Sequence[APIRouter] = (),
    page: Page | None = None,
    lifespan: Any = None,  # noqa: ANN401 - as FastAPI's
    working: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The API and `/v1/videos` behind guards; `more` are the routers of pages and of webhooks;
    `page` as in `add_handlers`, `working` as in `health.router`.

    Interactive documentation is not served: it would load scripts from elsewhere, which the
    policy of every answer forbids.
    """
    desk, metrics = guards.desk, guards.metrics
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.guards = guards
    add_handlers(app, page)
    for router in (
        account.router(guards),
        generations.router(guards),
        files.router(guards),
        facade.router(guards),
        health.router(
            desk,
            metrics,
            metrics_key=house.metrics_key,
            version=VERSION,
            clock=clock,
            working=working,
        ),
        *more,
    ):
        app.include_router(router)
    # The last one added is the first one to see a call.
    app.add_middleware(Hosts, allowed=house.hosts)
    app.add_middleware(Observed, metrics=metrics)
    app.add_middleware(SecurityHeaders, media_hosts=house.media_hosts)
    return app
