"""The desk: all that pages and routes may ask of the gateway, as a Protocol over plain frozen data.

What is refused is raised as one of the errors of `gateway.refusals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from gateway.offer_view import Offer
from gateway.refusals import Problems
from gateway.states import Generation, Status

# A request in JSON types under the names of the public contract: prompt, mode, image, duration, ...
# Only `prompt` is required. Pictures are https URLs or the `uri` of an Upload. Unknown fields are
# refused by name.
Form = Mapping[str, object]
EntryKind = Literal["grant", "hold", "capture", "release", "adjustment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who asks."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login. `token` goes into the cookie and is nowhere else; `csrf` into every form."""

    account: Account
    token: str
    csrf: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """A part of a price, in words."""

    label: str  # "720p Fast, 2 credits a second × 5 s"
    credits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a form costs and what it really gives. Nothing is held."""

    credits: int
    usd: str  # "0.24"
    price_version: str
    credits_per_second: int
    breakdown: tuple[PriceLine, ...]  # adds up to `credits`
    model: str
    mode: str
    resolution: str
    aspect_ratio: str  # the shape that is made; "auto" is decided
    duration: int  # seconds as asked and paid for
    width: int  # pixels
    height: int
    fps: int  # of the file: twice what was asked with the temporal upscaler
    num_frames: int
    seconds: float  # of the file
    available: int  # credits now
    available_after: int  # may be negative
    notes: tuple[str, ...]  # what was moved or has no effect, in sentences

    @property
    def sufficient(self) -> bool:
        """Whether the account can pay it."""
        return self.available_after >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some generations, in the order that was asked for."""

    items: tuple[Generation, ...]
    next_cursor: str | None  # None: there are no more


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A row of the ledger; rows are never changed."""

    id: int
    kind: EntryKind
    amount: int  # change of the available credits
    held_delta: int  # change of the held credits
    generation_id: str | None
    price_version: str | None
    note: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """An account's credits and its newest entries."""

    available: int
    held: int
    credit_usd: str
    entries: tuple[LedgerEntry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A picture that was taken; `uri` stands for it in a form."""

    id: str
    uri: str  # "upload://upl_…"
    content_type: str
    width: int  # pixels, upright
    height: int
    bytes: int
    expires_at: datetime


class Desk(Protocol):
    """All calls may be made from any thread; they block for a database at most, but `enhance`,
    which waits for a worker (up to a minute).
    """

    def offer(self) -> Offer:
        """What can be asked for."""
        ...

    def estimate(self, account: Account, form: Form) -> Quote | Problems:
        """The price of a form. `prompt` may be missing; every problem is found at once."""
        ...

    def create(
        self, account: Account, form: Form, idempotency_key: str | None = None
    ) -> Generation:
        """Hold the credits and queue the generation; the same key and form give the same one again
        (`replayed`). Raises Problems, Unaffordable, KeyReused, Limited.
        """
        ...

    def generation(self, account: Account, generation_id: str) -> Generation:
        """One of the account's own. Raises NotFound, for those of others too."""
        ...

    def generations(
        self,
        account: Account,
        *,
        cursor: str | None = None,
        limit: int = 24,
        status: Status | None = None,
        favourites: bool = False,
        oldest_first: bool = False,
    ) -> Page:
        """Newest first unless it is said, 1 to 100. Raises Problems for a cursor that is none."""
        ...

    def cancel(self, account: Account, generation_id: str) -> Generation:
        """Ask for the end. Never refused for what is one's own: what has ended stays as it is."""
        ...

    def delete(self, account: Account, generation_id: str) -> None:
        """Take it out of the list with its files; the ledger stays. Raises Conflict until ended."""
        ...

    def favourite(self, account: Account, generation_id: str, *, on: bool) -> Generation:
        """Mark it, or unmark it."""
        ...

    def credits(self, account: Account, *, cursor: str | None = None, limit: int = 20) -> Credits:
        """Balance and entries, newest first."""
        ...

    def upload(self, account: Account, name: str, content: bytes) -> Upload:
        """Take a picture (PNG, JPEG, WEBP; judged by its bytes). Raises Problems, TooLarge,
        Limited, Unavailable.
        """
        ...

    def picture(self, account: Account, upload_id: str) -> tuple[bytes, str]:
        """An upload's bytes and media type, for previews. Raises NotFound."""
        ...

    def enhance(self, account: Account, prompt: str, *, image: str | None = None) -> str:
        """A richer prompt, by the worker's language model.

        Raises Problems, Limited, Unaffordable, Unavailable.
        """
        ...

    def login(self, key: str) -> Session:
        """A session for an API key. Raises Unauthorised."""
        ...

    def session(self, token: str) -> Session:
        """The session of a cookie. Raises Unauthorised where it is over or never was."""
        ...

    def logout(self, token: str) -> None:
        """End a session; nothing happens where there is none."""
        ...
