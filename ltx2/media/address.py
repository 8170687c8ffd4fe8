"""Which hosts a picture may come from: a URL is taken apart, resolved once and checked here."""

import ipaddress
import re
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from ltx2.waiting import Stop, aside

PORTS = {"http": 80, "https": 443}
# IPv4 that is not anybody's on the internet (IANA, Special-Purpose Address Registry). Spelt out
# because what `ipaddress` calls global differs between patch releases of one Python.
SPECIAL_V4 = tuple(ipaddress.IPv4Network(block) for block in (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "168.63.129.16/32",  # public by its number, but Azure's services for the machine itself
))  # fmt: skip
UNICAST_V6 = ipaddress.IPv6Network("2000::/3")  # all that was ever given out
SPECIAL_V6 = tuple(ipaddress.IPv6Network(block) for block in (
    "2001::/23", "2001:db8::/32", "3fff::/20",
))  # fmt: skip
# RFC 6052: an IPv4 address behind a translator, in the last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_HOST = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_\-]*[A-Za-z0-9_])?"
                   r"(\.[A-Za-z0-9_]([A-Za-z0-9_\-]*[A-Za-z0-9_])?)*\.?")  # fmt: skip
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")  # what parsers of URLs disagree about
_SHOWN = 100  # characters of an address in an error


class AddressRefused(ValueError):
    """An address that is not fetched from. The message completes "<field> ..."."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart. `shown` has no query: that is where callers keep keys."""

    scheme: str
    host: str  # a name or a number, without the brackets of IPv6
    port: int
    target: str  # path and query, as they are sent
    shown: str

    @property
    def host_header(self) -> str:
        """The host as the server should read it, with the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def follow(self, location: str) -> str:
        """The URL a redirect leads to."""
        host = self.host_header
        return urljoin(f"{self.scheme}://{host}{self.target}", location)


def parse(url: str, *, any_port: bool) -> Address:
    """Take a URL apart. Raises AddressRefused for one that is not fetched from.

    Ports other than 80 and 443 are for `any_port` only, so that a picture's URL cannot be used to
    knock at other services.
    """
    if _UNSAFE.search(url):
        raise AddressRefused("is a URL with spaces, control characters or backslashes in it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused("is not a URL that can be read") from error
    scheme = parts.scheme.lower()
    if scheme not in PORTS:
        raise AddressRefused(f"must come by http or https, not by {scheme or 'nothing'}")
    if "@" in parts.netloc:
        raise AddressRefused("must be a URL without a user name or password")
    if "[" in parts.netloc and ":" not in host:
        raise AddressRefused("is a URL with brackets around something other than an IPv6 address")
    host = _ascii_host(host)
    port = PORTS[scheme] if port is None else port
    if not any_port and port not in PORTS.values():
        raise AddressRefused(f"must come from port 80 or 443, not {port}")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?") if parts.query else ""
    shown = f"{scheme}://{parts.netloc}{parts.path}"
    if len(shown) > _SHOWN:
        shown = shown[: _SHOWN - 3] + "..."
    return Address(scheme, host, port, path + query, ascii(shown)[1:-1])


def _ascii_host(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host)) if ":" in host else _host_name(host)
    except ValueError as error:  # UnicodeError is one
        raise AddressRefused("is a URL whose host name is not valid") from error


def _host_name(host: str) -> str:
    name = host if host.isascii() else host.encode("idna").decode("ascii")
    if not _HOST.fullmatch(name):
        raise ValueError(host)
    return name


def is_public(number: str) -> bool:
    """Whether an IP address is one that anybody on the internet could reach.

    Private, loopback, link-local (where clouds keep their metadata service), shared, reserved and
    multicast addresses are not; nor is an IPv6 address that carries such an IPv4 one.
    """
    ip = ipaddress.ip_address(number)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is None:
            return ip in UNICAST_V6 and not any(ip in block for block in SPECIAL_V6)
        ip = inner
    return not any(ip in block for block in SPECIAL_V4)


def is_loopback(host: str) -> bool:
    """Whether a name or number can only mean this machine. Nothing is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve(
    address: Address, *, allow_private: bool, deadline: float, stop: Stop | None = None
) -> list[str]:
    """The numbers to connect to, checked. Raises AddressRefused, OSError or TimeoutError.

    The caller connects to one of these numbers and never resolves the name again: a name whose
    answer changes between check and connection (DNS rebinding) gains nothing. One private number
    among public ones refuses all of them. `deadline` is a reading of time.monotonic(). What `stop`
    raises is raised here, too.
    """
    numbers = list(dict.fromkeys(_look_up(address, deadline, stop)))
    if not numbers:
        raise OSError("the host name has no address")
    if not allow_private and not all(is_public(number) for number in numbers):
        raise AddressRefused(
            f"must come from a public address; the host of {address.shown} is not one"
        )
    return numbers


def _look_up(address: Address, deadline: float, stop: Stop | None) -> list[str]:
    """getaddrinfo with a time limit: it has none of its own, so a thread waits in our place."""

    def numbers(_left_behind: threading.Event) -> list[str]:
        rows = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return [str(row[4][0]) for row in rows]

    def late_or_stopped() -> bool:
        if time.monotonic() >= deadline:
            raise TimeoutError("the host name was not resolved in time")
        return stop is not None and stop()

    try:
        return aside(numbers, stop=late_or_stopped, name="look-up")
    except TimeoutError:
        raise
    except (OSError, UnicodeError) as error:
        raise OSError("the host name is not known") from error
