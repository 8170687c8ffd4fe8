"""The studio's login cookie, as pages set it and the API reads it."""

from collections.abc import Mapping

from starlette.responses import Response

from gateway.desk import Session

LOGIN = "ltx2_session"


def login_name(*, secure: bool) -> str:
    """The cookie's name. Over https it has a prefix with which no host beside ours, and no page of
    plain http, can set it.
    """
    return f"__Host-{LOGIN}" if secure else LOGIN


def remember(response: Response, session: Session, *, secure: bool) -> None:
    """Log the browser in. No script can read the cookie, and no other site's form sends it."""
    response.set_cookie(
        login_name(secure=secure),
        session.token,
        expires=session.expires_at,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def forget(response: Response, *, secure: bool) -> None:
    """Log the browser out."""
    response.delete_cookie(
        login_name(secure=secure), path="/", secure=secure, httponly=True, samesite="lax"
    )


def login_token(cookies: Mapping[str, str], *, secure: bool) -> str | None:
    """The token of a request's cookies, None where there is none."""
    return cookies.get(login_name(secure=secure)) or None
