"""Who calls: an API key, or the studio's cookie with its token against forged forms."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from gateway import cookies, logs
from gateway.api.limits import Buckets
from gateway.api.reception import Reception
from gateway.desk import Account, Session
from gateway.metrics import Metrics
from gateway.refusals import Limited, Refusal, Unauthorised

CSRF_HEADER = "x-csrf-token"
_SAFE = ("GET", "HEAD", "OPTIONS")
T = TypeVar("T")
_HOW = "send Authorization: Bearer and an API key"


class Forged(Refusal):
    """A call with a cookie that did not come from our own pages."""

    type = "permission_error"
    status = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What stands at the API's door; the app keeps it as `state.guards`.

    `strangers` counts failed keys by address. `secure`: the studio's cookie is for https alone.
    """

    desk: Reception
    accounts: Buckets
    strangers: Buckets
    metrics: Metrics
    secure: bool = False

    def called(self, account: Account) -> None:
        """Count a call of an account's, whichever way it came. Raises Limited."""
        self._take(self.accounts, account.id)

    def guessed(self, request: Request) -> None:
        """Count a key or a cookie that is none, by the address it came from. Raises Limited."""
        self._take(self.strangers, request.client.host if request.client else "unknown")

    def _take(self, buckets: Buckets, name: str) -> None:
        try:
            buckets.take(name)
        except Limited as error:
            self.metrics.limited(error.type)
            raise


# Only says in the OpenAPI document that there is a key; the header is read below.
_BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="An API key.")


def caller(request: Request, _key: Annotated[object, Security(_BEARER)]) -> Account:
    """Who calls. Runs on a thread, as the desk asks a database. Raises Unauthorised, Limited."""
    guards = cast("Guards", request.app.state.guards)
    account = _account(request, guards)
    guards.called(account)
    asking = logs.current.get()
    if asking is not None:
        asking.account = account.id
    return account


# What a route takes that needs an account.
Caller = Annotated[Account, Depends(caller)]


def _account(request: Request, guards: Guards) -> Account:
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, key = header.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorised(_HOW)
        return _unless_guessing(request, guards, lambda: guards.desk.account(key.strip()))
    token = cookies.login_token(request.cookies, secure=guards.secure)
    if token is None:
        raise Unauthorised(_HOW)
    session = _unless_guessing(request, guards, lambda: guards.desk.session(token))
    if request.method not in _SAFE:
        refuse_forged(request, session, request.headers.get(CSRF_HEADER, ""))
    return session.account


def _unless_guessing(request: Request, guards: Guards, look: Callable[[], T]) -> T:
    """What `look` finds. An address that fails too often is told to wait, but who brings a good key
    from there is let in: many may share the address of a proxy.
    """
    try:
        return look()
    except Unauthorised:
        guards.guessed(request)
        raise


def refuse_forged(request: Request, session: Session, given: str) -> None:
    """Raise Forged unless a changing call with a cookie brings the session's own token."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forged("this call came from another site")
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise Forged(f"send the page's token as {CSRF_HEADER}; reload the page to get a new one")
