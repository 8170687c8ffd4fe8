"""The login of a studio of one's own: whoever comes to a page is the one account there is."""

import threading

from starlette.requests import Request

from gateway.desk import Desk, Session
from gateway.refusals import Unauthorised


class LocalLogin:
    """One session for a whole process, so that first tabs share their token, and any number of
    calls without a cookie leave one row. Safe from any thread.
    """

    def __init__(self, desk: Desk, key: str) -> None:
        self._desk = desk
        self._key = key
        self._lock = threading.Lock()
        self._kept: Session | None = None

    def session(self) -> Session:
        """The session; a new one where that is over."""
        with self._lock:
            if self._kept is not None:
                try:
                    return self._desk.session(self._kept.token)
                except Unauthorised:
                    pass  # signed out, or a month old
            self._kept = self._desk.login(self._key)
            return self._kept


def opens_a_page(request: Request) -> bool:
    """Whether a visitor opens a page, or one of our pages asks; not what a page of another site
    loads or sends behind a visitor's back.
    """
    if request.method not in ("GET", "HEAD"):
        return False
    ours = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return ours or request.headers.get("sec-fetch-dest") == "document"
