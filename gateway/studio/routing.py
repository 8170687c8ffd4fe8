"""How studio routes answer what is refused: with a page for people, with JSON for our script."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from gateway import cookies
from gateway.database import AWAY, unavailable
from gateway.refusals import Limited, NotFound, Refusal, Unauthorised
from gateway.studio.visit import House, NoSuchPage, SignInFirst, here, wants_json
from gateway.studio.wording import sentence

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_TITLES = {
    400: "That does not work",
    402: "Not enough credits",
    403: "Please try that again",
    404: "There is nothing here",
    409: "Not now",
    413: "That is too large",
    429: "One moment",
    503: "This cannot be reached now",
}


def studio_router(house: House) -> APIRouter:
    """An empty router of the studio's: what its routes refuse becomes a page."""
    return APIRouter(route_class=_studio_route(house), include_in_schema=False)


def _studio_route(house: House) -> type[APIRoute]:

    class StudioRoute(APIRoute):
        """A route whose refusals become pages."""

        def get_route_handler(self) -> Handler:
            """The handler, with refusals answered."""
            handle = super().get_route_handler()

            async def answered(request: Request) -> Response:
                try:
                    response = await handle(request)
                except (SignInFirst, Unauthorised):
                    response = _sign_in(request)
                except Refusal as refusal:
                    response = await run_in_threadpool(refused, house, request, refusal)
                except AWAY as error:  # nor can the page ask who visits
                    response = refused(house, request, unavailable(error), anonymous=True)
                login = getattr(request.state, "studio_login", None)
                if login is not None:
                    cookies.remember(response, login, secure=house.secure)
                return response

            return answered

    return StudioRoute


def refused(
    house: House, request: Request, refusal: Refusal, *, anonymous: bool = False
) -> Response:
    """What a refusal looks like; `anonymous` as in `House.page`."""
    headers = {"retry-after": str(refusal.retry_after)} if isinstance(refusal, Limited) else None
    deleted = isinstance(refusal, NotFound) and not isinstance(refusal, NoSuchPage)
    message = "It may have been deleted." if deleted else sentence(str(refusal))
    if wants_json(request):
        return JSONResponse({"message": message}, refusal.status, headers=headers)
    response = house.page(
        request,
        "error.html",
        status=refusal.status,
        anonymous=anonymous,
        title=_TITLES.get(refusal.status, "Something went wrong"),
        message=message,
    )
    response.headers.update(headers or {})
    return response


def _sign_in(request: Request) -> Response:
    """To the sign-in page, and back here afterwards."""
    if wants_json(request):
        return JSONResponse({"message": "Please sign in again.", "sign_in": "/sign-in"}, 401)
    back = here(request) if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?next={quote(back, safe='')}", 303)
