"""One POST to a receiver's address: resolved once, checked, capped in time, redirects refused."""

import http.client
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ltx2.media.address import Address, AddressRefused, parse, resolve
from ltx2.media.connection import connected, why

LONGEST_URL = 2048  # characters
READ_BYTES = 64 * 1024  # of an answer's body at most: it is read away and not looked at
_HEADERS = {
    "user-agent": "ltx2-gateway",
    "content-type": "application/json",
    "accept-encoding": "identity",
    "connection": "close",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver's status."""

    status: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why there is no status, without the receiver's own words and without its query."""

    why: str


def target_refusal(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's address, to follow its field's name; None if nothing.

    Nothing is looked up: a name that leads to a private address is refused when it is called.
    """
    if len(url) > LONGEST_URL:
        return f"must be at most {LONGEST_URL} characters"
    try:
        _target(url, allow_private=allow_private)
    except AddressRefused as error:
        return str(error)
    return None


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    allow_private: bool,
) -> Answered | Unanswered:
    """Send a webhook. `timeout_s` is for everything together; redirects are answers, not followed.

    The number that was checked is the number that is called, so that a name whose answer changes
    in between gains nothing; the environment's proxies are not used.
    """
    deadline = time.monotonic() + timeout_s
    try:
        address = _target(url, allow_private=allow_private)
        numbers = resolve(address, allow_private=allow_private, deadline=deadline)
        with connected(address, numbers, deadline) as connection:
            sent = {"host": address.host_header, **_HEADERS, **headers}
            connection.request("POST", address.target, body=body, headers=sent)
            response = connection.getresponse()
            response.read(READ_BYTES)
            return Answered(response.status)
    except AddressRefused as error:
        return Unanswered(f"the address {error}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        # A line that was shut at the deadline fails in many ways; the clock says which.
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            return Unanswered(f"no answer within {timeout_s:g} s")
        return Unanswered(why(error))


def _target(url: str, *, allow_private: bool) -> Address:
    address = parse(url, any_port=allow_private)
    if allow_private:
        return address
    if address.scheme != "https":
        raise AddressRefused("must be an https URL")
    if _is_number(address.host):
        raise AddressRefused("must name its host, not give a number")
    return address


def _is_number(host: str) -> bool:
    """Also the spellings that only a system's resolver takes for a number: 2130706433, 0x7f.1."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").rpartition(".")[2][:1].isdigit()
    return True
