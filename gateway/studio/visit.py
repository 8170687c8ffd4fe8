"""Who visits a page: the session of the cookie, the theme, and that a form is one of ours."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, cast
from urllib.parse import SplitResult, urlsplit

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gateway import cookies
from gateway.desk import Account, Credits, Desk, Session
from gateway.refusals import Limited, NotFound, Refusal, TooLarge, Unauthorised
from gateway.studio.assets import Assets, load
from gateway.studio.local_login import LocalLogin, opens_a_page
from gateway.studio.rendering import environment

Theme = Literal["system", "light", "dark"]
THEMES: tuple[Theme, ...] = ("system", "light", "dark")
THEME_COOKIE = "ltx2_theme"
_FORM_BYTES = 1_000_000  # of a form besides its pictures
_STRANGERS_BYTES = 16_000  # of a form that anyone may send


class SignInFirst(Exception):
    """Nobody is logged in."""


class NotOurs(Refusal):
    """A form that none of our pages sent, or one from before a new login."""

    type = "invalid_request_error"
    status = 403


class NoSuchPage(NotFound):
    """An address that this studio has no page at, and never had."""

    def __init__(self) -> None:
        super().__init__("There is no such page.")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What every page needs. `local` logs in whoever comes, for a studio of one's own; the others
    as in `open_studio`.
    """

    desk: Desk
    now: Callable[[], datetime]
    secure: bool
    local: LocalLogin | None
    called: Callable[[Account], object]
    guessed: Callable[[Request], object]
    public_url: str | None = None
    assets: Assets = field(default_factory=load)
    templates: jinja2.Environment = field(default_factory=environment)

    @property
    def free(self) -> bool:
        """Whether nobody pays for anything, so that no page speaks of prices."""
        return self.local is not None

    def origin(self, request: Request) -> str:
        """The address of this site, for what is copied from it."""
        return self.public_url or f"{request.url.scheme}://{request.url.netloc}"

    def session(self, request: Request) -> Session:
        """The visitor's session; a visit counts once. Raises SignInFirst, Limited."""
        known = getattr(request.state, "studio_session", None)
        if known is not None:
            return cast("Session", known)
        request.state.studio_session = found = self._session(request)
        self.called(found.account)
        return found

    def login(self, request: Request, key: str) -> Session:
        """A session for an API key. Raises Unauthorised, Limited."""
        try:
            return self.desk.login(key)
        except Unauthorised:
            self.guessed(request)
            raise

    def _session(self, request: Request) -> Session:
        token = cookies.login_token(request.cookies, secure=self.secure)
        if token is not None:
            try:
                return self.desk.session(token)
            except Unauthorised:
                pass  # it is over: as if there were none
        if self.local is None or not opens_a_page(request):
            raise SignInFirst
        request.state.studio_login = session = self.local.session()
        return session

    def account(self, request: Request) -> Account:
        """Who visits."""
        return self.session(request).account

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        anonymous: bool = False,
        **values: object,
    ) -> HTMLResponse:
        """A page with what all pages show around it; an `anonymous` one asks nobody who visits."""
        session = None if anonymous else self._visitor(request)
        shown = {
            "session": session,
            "csrf": session.csrf if session else "",
            "balance": self._balance(session),
            "local": self.local is not None,
            "free": self.free,
            "theme": theme_of(request),
            "themes": THEMES,
            "path": request.url.path,
            "here": here(request),
            "asset": self.assets.address,
            "new_key": new_key,
            "request_id": getattr(request.state, "request_id", None),
        }
        html = self.templates.get_template(template).render(shown | values)
        return HTMLResponse(html, status, headers={"cache-control": "no-store", "vary": "cookie"})

    def _balance(self, session: Session | None) -> Credits | None:
        if session is None or self.free:
            return None
        return self.desk.credits(session.account, limit=1)

    def _visitor(self, request: Request) -> Session | None:
        try:
            return self.session(request)
        except (SignInFirst, Limited):
            return None

    def checked(self, request: Request, data: FormData) -> Account:
        """Who sent a form. Raises SignInFirst, and NotOurs where its token is another's."""
        session = self.session(request)
        sent = text(data, "csrf") or request.headers.get("x-csrf-token", "")
        if not secrets.compare_digest(sent.encode(), session.csrf.encode()):
            raise NotOurs("This page is from before your last sign-in. Reload it and try again.")
        return session.account

    async def posted(self, request: Request) -> AsyncIterator[FormData]:
        """The fields of a form of a visitor who is known before it is read, of a size that is, too.
        Its files are closed when the request is answered. Raises SignInFirst.
        """
        most = 2 * self.desk.offer().max_upload_bytes + _FORM_BYTES
        _refuse_long(request, most)
        await run_in_threadpool(self.session, request)
        form = request.form(max_files=4, max_fields=100, max_part_size=_FORM_BYTES)
        async with form as data:
            yield data


async def posted_by_anyone(request: Request) -> FormData:
    """The fields of a form that needs no session: short, and without files."""
    _refuse_long(request, _STRANGERS_BYTES)
    return await request.form(max_files=0, max_fields=10)


def _refuse_long(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise NotOurs("A form has to say how long it is.")
    if int(length[:20]) > most:
        raise TooLarge(f"That is more than the {most} bytes a form may have.", most=most)


def theme_of(request: Request) -> Theme:
    """The theme that was chosen; the system's where none was."""
    chosen = request.cookies.get(THEME_COOKIE)
    for theme in THEMES:
        if theme == chosen:
            return theme
    return "system"


def here(request: Request) -> str:
    """The address of this page, to come back to."""
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def inside(address: str, otherwise: str = "/") -> str:
    """An address of ours; anything that leads elsewhere becomes `otherwise`."""
    parts = _parts(address)
    ours = address.startswith("/") and not address.startswith(("//", "/\\"))
    plain = not any(ord(letter) < 32 for letter in address)
    return address if ours and plain and not parts.netloc and not parts.scheme else otherwise


def _parts(address: str) -> SplitResult:
    """An address's parts; nobody's host where it has none that can be read, such as `//[`."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "[", "", "", "")


def same_site(request: Request, public_url: str | None) -> None:
    """Refuse a form of another site, where there is no session yet that a token could be of. A
    proxy may ask us by another name than its own, so a page of the public address is ours as well.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return
    sent, public = _parts(origin), urlsplit(public_url or "")
    asked = sent.netloc == request.headers.get("host")  # "null", a page that hides, has none
    if not (asked or (sent.netloc and sent[:2] == public[:2])):
        raise NotOurs("This form was sent from another site.")


def text(data: FormData, name: str) -> str:
    """A field's text, "" where it is missing."""
    value = data.get(name)
    return value if isinstance(value, str) else ""


def texts(data: FormData) -> dict[str, str]:
    """The fields that are no files."""
    return {name: value for name, value in data.items() if isinstance(value, str)}


def sent_file(data: FormData, name: str) -> tuple[str, bytes] | None:
    """A file's name and bytes, None where nobody chose one."""
    value = data.get(name)
    if not isinstance(value, UploadFile) or not value.filename:
        return None
    return value.filename, value.file.read()


def wants_json(request: Request) -> bool:
    """Whether our script asks, not a browser for a page."""
    return "application/json" in request.headers.get("accept", "")


def new_key() -> str:
    """An idempotency key for a form."""
    return secrets.token_urlsafe(18)


def own_upload(uri: str) -> str:
    """The id in `upload://…`. Raises NotFound for anything else."""
    head, _, upload_id = uri.partition("upload://")
    if head or not upload_id:
        raise NotFound("there is no such picture")
    return upload_id
