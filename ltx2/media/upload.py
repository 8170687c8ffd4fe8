"""One HTTP exchange that sends a file: pinned to a checked address, stopped when told. No torch.

Redirects are answers like any other here: a file must not be sent on to where a server points.
"""

import http.client
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from ltx2.errors import Cancelled
from ltx2.media.address import Address, resolve
from ltx2.media.connection import connected
from ltx2.waiting import Stop

CHUNK = 256 * 1024  # bytes
MOST_ANSWER = 2**20  # bytes of an answer that are kept; what is longer is cut off there


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long an exchange may take, in seconds."""

    reach: float = 10.0  # for the name of the host
    quiet: float = 60.0  # that the line may stand still
    least: float = 120.0  # for all of it, and more for a long body:
    slowest: float = 256 * 1024  # bytes a second

    def total(self, length: int) -> float:
        """For an exchange with a body of `length` bytes, either way."""
        return self.least + length / self.slowest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # its first MOST_ANSWER bytes; none where it went into a file


def exchange(
    method: str,
    address: Address,
    *,
    headers: Mapping[str, str],
    body: IO[bytes] | None = None,
    length: int = 0,
    times: Times,
    allow_private: bool,
    stop: Stop,
    into: IO[bytes] | None = None,
    into_bytes: int = 0,
) -> Reply:
    """The answer to one request; `length` bytes of `body` go with it.

    The body of a good answer is written to `into`, where there is one; about `into_bytes` are
    expected then. Raises AddressRefused, OSError (TimeoutError for what takes too long),
    HTTPException or ValueError for what goes wrong on the line, Cancelled where `stop` says so, and
    what `stop` raises of this project's own errors.
    """
    limit = times.total(max(length, into_bytes))
    deadline = time.monotonic() + limit
    reach = min(deadline, time.monotonic() + times.reach)

    def stopped() -> bool:
        if stop():
            raise Cancelled("stopped while the clip was handed over")
        return False

    numbers = resolve(address, allow_private=allow_private, deadline=reach, stop=stopped)
    try:
        with connected(address, numbers, deadline, quiet_s=times.quiet, stop=stopped) as connection:
            connection.putrequest(method, address.target, skip_host=True, skip_accept_encoding=True)
            for name, value in _headers(address, headers, method, length).items():
                connection.putheader(name, value)
            with _answered(connection, body or io.BytesIO(), length) as response:
                good = into is not None and response.status < 300
                return Reply(
                    status=response.status,
                    headers={name.lower(): value for name, value in response.getheaders()},
                    body=_read(response, into if good else None),
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= deadline:  # a socket that was shut down fails in many ways
            raise TimeoutError(f"not done within {limit:.0f} s") from error
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"nothing moved for {times.quiet:g} s") from error
        raise


def _headers(
    address: Address, given: Mapping[str, str], method: str, length: int
) -> dict[str, str]:
    """The headers to send: those that are given, and what frames the body."""
    framing = {"host", "content-length", "connection", "expect", "transfer-encoding"}
    kept = {name: value for name, value in given.items() if name.lower() not in framing}
    sized = {"Content-Length": str(length)} if length or method in ("PUT", "POST") else {}
    return {"Host": address.host_header, "Connection": "close", **sized, **kept}


def _answered(
    connection: http.client.HTTPConnection, body: IO[bytes], length: int
) -> http.client.HTTPResponse:
    """Send the body and wait for the answer, which may come before the server has read all."""
    connection.endheaders()
    left, broken = length, None
    try:
        while left:
            chunk = body.read(min(CHUNK, left))
            if not chunk:
                raise ValueError("the file ended before its length")
            connection.send(chunk)
            left -= len(chunk)
    except ConnectionError as error:  # it hung up; often it has said why
        broken = error
    try:
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise broken or error from error


def _read(response: http.client.HTTPResponse, into: IO[bytes] | None) -> bytes:
    """The body of an answer, all of it or with an error."""
    kept = io.BytesIO()
    while chunk := response.read(CHUNK):
        if into is not None:
            into.write(chunk)
        elif kept.tell() < MOST_ANSWER:
            kept.write(chunk[: MOST_ANSWER - kept.tell()])
        else:
            return kept.getvalue()
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return kept.getvalue()
