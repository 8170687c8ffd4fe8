"""The studio's login cookie, as pages set it and the API reads it."""

from collections.abc import Mapping

from starlette.responses import Response

from gateway.desk import Session

LOGIN = "ltx2_session"


def remember(response: Response, session: Session, *, secure: bool) -> None:
    """Log the browser in. No script can read the cookie, and no other site's form sends it."""
    response.set_cookie(
        LOGIN,
        session.token,
        expires=session.expires_at,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def forget(response: Response, *, secure: bool) -> None:
    """Log the browser out."""
    response.delete_cookie(LOGIN, path="/", secure=secure, httponly=True, samesite="lax")


def login_token(cookies: Mapping[str, str]) -> str | None:
    """The token of a request's cookies, None where there is none."""
    return cookies.get(LOGIN) or None
