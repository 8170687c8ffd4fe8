"""Who may call the server: this machine's own programs, or whoever has the key."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from ltx2.media.address import is_loopback
from ltx2.serve.refusal import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Answer = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Answer], Awaitable[None]]


class Guard:
    """Lets a call through to `app`, or answers it with `refuse`.

    Without a key the server is for programs on this machine, but pages in a browser there can
    call it too. A page of a stranger's is kept out by its Origin, and one whose name was made to
    point to this machine by the Host that the browser sends along.
    """

    def __init__(self, app: App, *, key: str | None, refuse: Callable[[Refusal], App]) -> None:
        self._app = app
        self._key = key
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Answer) -> None:
        """One call, in the form of ASGI."""
        refusal = self._judge(scope) if scope["type"] == "http" else None
        app = self._app if refusal is None else self._refuse(refusal)
        await app(scope, receive, send)

    def _judge(self, scope: Scope) -> Refusal | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if self._key is None and not is_loopback(host_name(host)):
            return Refusal(
                403, f"without a key this server answers to localhost only, not to {host!r}"
            )
        if origin is not None and urlsplit_host(origin) != host:
            return Refusal(403, "pages of other origins may not call this server")
        if self._key is None:
            return None
        given = headers.get(b"authorization", "")
        wanted = f"Bearer {self._key}"
        if hmac.compare_digest(given.encode(), wanted.encode()):
            return None
        return Refusal(401, "send the server's key as `authorization: Bearer KEY`")


def host_name(host: str) -> str:
    """The name in a Host header, without its port and an address's brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def urlsplit_host(origin: str) -> str | None:
    """Host and port of an Origin; None for one that has none, such as `null`."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
