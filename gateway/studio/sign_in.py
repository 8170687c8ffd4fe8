"""Coming and going: the sign-in page, the way out, and the theme, which needs no account."""

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from gateway import cookies
from gateway.refusals import Limited, Unauthorised
from gateway.studio.routing import studio_router
from gateway.studio.visit import (
    THEME_COOKIE,
    THEMES,
    House,
    SignInFirst,
    inside,
    posted_by_anyone,
    same_site,
    text,
    wants_json,
)

_YEAR = 365 * 24 * 3600


def sign_in_routes(house: House) -> APIRouter:
    """The routes of signing in and out."""
    routes = studio_router(house)
    posted, posted_by_stranger = Depends(house.posted), Depends(posted_by_anyone)

    @routes.get("/sign-in")
    def page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
        try:
            house.session(request)
        except SignInFirst:
            return house.page(request, "sign_in.html", next=inside(next), problem="")
        return RedirectResponse(inside(next), 303)

    @routes.post("/sign-in")
    def sign_in(request: Request, data: FormData = posted_by_stranger) -> Response:
        same_site(request, house.public_url)
        back = inside(text(data, "next"))
        try:
            session = house.login(request, text(data, "key").strip())
        except Unauthorised:
            problem = "That key is not known. Check that it is whole."
            return house.page(request, "sign_in.html", status=401, next=back, problem=problem)
        except Limited as refusal:
            return house.page(request, "sign_in.html", status=429, next=back, problem=str(refusal))
        response = RedirectResponse(back, 303)
        cookies.remember(response, session, secure=house.secure)
        return response

    @routes.post("/sign-out")
    def sign_out(request: Request, data: FormData = posted) -> Response:
        house.checked(request, data)
        token = cookies.login_token(request.cookies, secure=house.secure)
        if token is not None:
            house.desk.logout(token)
        response = RedirectResponse("/sign-in", 303)
        cookies.forget(response, secure=house.secure)
        return response

    @routes.post("/studio/theme")
    def theme(request: Request, data: FormData = posted_by_stranger) -> Response:
        same_site(request, house.public_url)
        chosen = text(data, "theme")
        if wants_json(request):
            response = Response(status_code=204)
        else:
            response = RedirectResponse(inside(text(data, "back")), 303)
        if chosen in THEMES:
            response.set_cookie(
                THEME_COOKIE,
                chosen,
                max_age=_YEAR,
                path="/",
                secure=house.secure,
                httponly=True,
                samesite="lax",
            )
        return response

    return routes
