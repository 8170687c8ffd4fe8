"""The names this server answers to: a page of another must not reach it by a trick of DNS."""

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.envelope import error_response


class Hosts:
    """Refuses calls for other hosts. Without any given, every name is answered."""

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(each.lower() for each in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or refuse it."""
        if scope["type"] == "http" and self._allowed:
            name = host_of(Headers(scope=scope).get("host", ""))
            if name not in self._allowed:
                told = "this server does not answer to that host name"
                detail = {"type": "invalid_request_error", "message": told}
                await error_response(421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def host_of(header: str) -> str:
    """The name in a Host header, without its port and the brackets of IPv6."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
