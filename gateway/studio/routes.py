"""The studio as a router: pages, actions, what the script asks for, and the files they load."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.desk import Account, Desk
from gateway.refusals import Refusal
from gateway.studio.actions import action_routes
from gateway.studio.assets import ROOT
from gateway.studio.live import live_routes
from gateway.studio.local_login import LocalLogin
from gateway.studio.pages import page_routes
from gateway.studio.routing import refused
from gateway.studio.sign_in import sign_in_routes
from gateway.studio.visit import House


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """The studio's routes, and its page for what is refused outside of them."""

    routes: APIRouter
    refused: Callable[[Request, Refusal], Response]


def open_studio(
    desk: Desk,
    *,
    secure: bool,
    local_key: str | None = None,
    public_url: str | None = None,
    now: Callable[[], datetime] = _utc_now,
    called: Callable[[Account], object] = lambda _account: None,
    guessed: Callable[[Request], object] = lambda _request: None,
) -> Studio:
    """The studio over a desk.

    `secure` marks the cookies for https alone. `local_key` logs in everyone who comes, as a studio
    on one's own machine does: only for an app that answers no other host than the loopback's.
    `public_url` is the site's address, where the one that a page was asked for at is not.
    `called` is told of each call of an account's and `guessed` of each wrong key; both may raise
    Limited.
    Videos are linked at `/api/generations/{id}/content`; the app gives pages their policy
    (`gateway.api.security`).
    """
    house = House(
        desk=desk,
        now=now,
        secure=secure,
        local=None if local_key is None else LocalLogin(desk, local_key),
        public_url=None if public_url is None else public_url.rstrip("/"),
        called=called,
        guessed=guessed,
    )
    routes = APIRouter()
    for part in (page_routes, action_routes, live_routes, sign_in_routes):
        routes.include_router(part(house))

    @routes.get(f"{ROOT}/{{digest}}/{{name:path}}", include_in_schema=False)
    def asset(digest: str, name: str) -> Response:
        return house.assets.answer(digest, name)

    return Studio(routes=routes, refused=partial(refused, house))
