"""What the API needs of the gateway beside the desk: keys, files, and how it is doing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.desk import Account, Desk
from gateway.metrics import Levels

Variant = Literal["video", "thumbnail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that is read through the gateway."""

    size: int  # bytes
    read: Callable[[int, int], Iterator[bytes]]  # from which byte on, how many
    content_type: str
    name: str  # as a download should be called
    tag: str  # other bytes have another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A link to a store, signed a moment ago and good for minutes."""

    url: str


Content = Stored | Elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`checks` by part: ok, or what is wrong, without secrets."""

    checks: Mapping[str, str]
    fake: bool

    @property
    def ok(self) -> bool:
        """Whether every part works."""
        return all(each == "ok" for each in self.checks.values())


class Reception(Desk, Protocol):
    """The desk for callers from outside."""

    @property
    def fake(self) -> bool:
        """Whether what makes the videos is no real worker."""
        ...

    def account(self, key: str) -> Account:
        """Whose API key this is. Raises Unauthorised."""
        ...

    def content(
        self, account: Account, generation_id: str, variant: Variant, *, download: bool = False
    ) -> Content:
        """A finished video, or its thumbnail; a link to a store is one that browsers show, or save
        for a `download`. Raises NotFound, and Conflict until there is one.
        """
        ...

    def levels(self) -> Levels:
        """What stands in the database now."""
        ...

    def ready(self) -> bool:
        """Whether the database can be used."""
        ...

    def health(self) -> Health:
        """Looks at the database, the worker and the store."""
        ...
