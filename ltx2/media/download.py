"""One HTTP GET from an address that was checked: capped in bytes and in time."""

import http.client
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

from ltx2.errors import MediaRefused, TooLarge
from ltx2.media.address import Address, AddressRefused, parse, resolve
from ltx2.media.connection import connected, why
from ltx2.waiting import Stop

REDIRECTS = 3
CHUNK = 64 * 1024  # bytes
_MOVED = (301, 302, 303, 307, 308)
_HEADERS = {
    "User-Agent": "ltx2",
    "Accept-Encoding": "identity",  # a packed body could unpack to any size
    "Connection": "close",
}


def download(
    url: str,
    *,
    name: str,
    max_bytes: int,
    timeout_s: float,
    allow_private: bool = False,
    stop: Stop | None = None,
) -> bytes:
    """The body behind an http(s) URL. `name` is the field that errors speak of.

    Raises MediaRefused, or TooLarge above `max_bytes`. `timeout_s` is for everything together,
    redirects included; each of those is resolved and checked like the first address. `stop` is
    asked all the time; what it raises, or Cancelled, ends the download.
    """
    with fetching(
        url,
        name=name,
        timeout_s=timeout_s,
        allow_private=allow_private,
        headers={"Accept": "image/*"},
        stop=stop,
    ) as answer:
        answer.refuse_unless_whole()
        if answer.length is not None and answer.length > max_bytes:
            raise too_many_bytes(name, max_bytes)
        body = bytearray()
        while chunk := answer.read(CHUNK):
            body += chunk
            if len(body) > max_bytes:
                raise too_many_bytes(name, max_bytes)
        return bytes(body)


class Answer:
    """What a server answered; its body is read piece by piece until the deadline."""

    def __init__(self, response: http.client.HTTPResponse, refusals: "_Refusals") -> None:
        self._response = response
        self._refusals = refusals
        self.status = response.status
        self.length = response.length  # bytes of the body, None where the server does not say

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return self._response.getheader(name)

    def refuse_unless_whole(self) -> None:
        """Raise MediaRefused for anything but a plain, unpacked body."""
        name, shown = self._refusals.name, self._refusals.shown
        if self.status != http.HTTPStatus.OK:
            raise MediaRefused(
                f"{name} cannot be fetched from {shown}: the server answered {self.status}"
            )
        if (self.header("Content-Encoding") or "").strip().lower() not in ("", "identity"):
            raise MediaRefused(f"{name} cannot be fetched from {shown}: the server sent it packed")

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end. Raises MediaRefused where the line breaks."""
        with self._refusals.named():
            chunk = self._response.read(count)
            if len(chunk) < count:
                if time.monotonic() >= self._refusals.deadline:
                    raise TimeoutError  # the end that was read is the watchdog's
                if self._response.length:
                    raise http.client.IncompleteRead(b"", self._response.length)
            return chunk


@contextmanager
def fetching(
    url: str,
    *,
    name: str,
    timeout_s: float,
    allow_private: bool = False,
    headers: Mapping[str, str] = MappingProxyType({}),
    stop: Stop | None = None,
) -> Iterator[Answer]:
    """The answer to a GET of an http(s) URL, whatever its status, redirects followed.

    `name` is the field that errors speak of. Raises MediaRefused; times, addresses and `stop` as in
    `download`, the reading of the body included.
    """
    refusals = _Refusals(name, timeout_s)
    with ExitStack() as stack:
        response = None
        for _ in range(REDIRECTS + 1):
            stack.close()  # the line to where the last redirect came from
            with refusals.named():
                address = parse(url, any_port=allow_private)
                refusals.shown = address.shown
                deadline = refusals.deadline
                numbers = resolve(
                    address, allow_private=allow_private, deadline=deadline, stop=stop
                )
                connection = stack.enter_context(connected(address, numbers, deadline, stop=stop))
                connection.request("GET", address.target, headers=_headers(address, headers))
                response = stack.enter_context(connection.getresponse())
                location = response.getheader("Location")
                if response.status not in _MOVED or not location:
                    break
                url = address.follow(location)
        else:
            raise MediaRefused(
                f"{name} cannot be fetched: more than {REDIRECTS} redirects, last {refusals.shown}"
            )
        yield Answer(response, refusals)


class _Refusals:
    """What goes wrong on the line, in words about the field and the address without its query."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self.shown = "the URL"
        self.deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s

    @contextmanager
    def named(self) -> Iterator[None]:
        """Turn errors of the line into MediaRefused."""
        try:
            yield
        except AddressRefused as error:
            raise MediaRefused(f"{self.name} {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A socket that was shut down at the deadline fails in many ways; the clock says which.
            late = isinstance(error, TimeoutError) or time.monotonic() >= self.deadline
            reason = f"not done within {self._timeout_s:g} s" if late else why(error)
            raise MediaRefused(
                f"{self.name} cannot be fetched from {self.shown}: {reason}"
            ) from error


def _headers(address: Address, more: Mapping[str, str]) -> dict[str, str]:
    return {"Host": address.host_header, **_HEADERS, **more}


def too_many_bytes(name: str, max_bytes: int) -> TooLarge:
    """The refusal of a picture that is too heavy."""
    return TooLarge(f"{name} is larger than {max_bytes:,} bytes, the most that is taken")
