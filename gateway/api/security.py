"""Headers that keep a page's scripts, frames and forms to ourselves, on every answer."""

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# A year; only said over https, where browsers listen to it.
_HSTS = "max-age=31536000"
# Nothing may run in, or be fetched by, an answer that is no page.
_DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page_policy(media_hosts: Iterable[str] = ()) -> str:
    """The policy of pages: scripts, styles and fetches from here, without inline ones.

    `media_hosts` are origins of a store that videos and thumbnails are linked to.
    """
    hosts = "".join(f" {host}" for host in media_hosts)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data: blob:{hosts}",
            f"media-src 'self' blob:{hosts}",
            "font-src 'self'",
            f"connect-src 'self'{hosts}",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class SecurityHeaders:
    """Adds what a route has not set itself. API answers are kept by no cache."""

    def __init__(self, app: ASGIApp, *, media_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._page_policy = page_policy(media_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                page = headers.get("content-type", "").startswith("text/html")
                policy = self._page_policy if page else _DATA_POLICY
                headers.setdefault("content-security-policy", policy)
                if scope["scheme"] == "https":
                    headers.setdefault("strict-transport-security", _HSTS)
                if scope["path"].startswith(("/api/", "/v1/", "/webhooks/")):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, secured)
