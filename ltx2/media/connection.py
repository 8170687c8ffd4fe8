"""A connection to a number that was checked, and what is said when it fails.

On http.client rather than a client library: it takes a socket that is already connected, so the
number that was checked is the number that is asked, and it reads no proxy settings that would
undo this.
"""

import http.client
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ltx2.media.address import Address
from ltx2.waiting import ASK_SECONDS, Outcome, Stop, ask


@contextmanager
def connected(
    address: Address,
    numbers: list[str],
    deadline: float,
    *,
    quiet_s: float | None = None,
    stop: Stop | None = None,
) -> Iterator[http.client.HTTPConnection]:
    """A connection to the first number that answers; shut down when the deadline has come.

    `deadline` is a reading of time.monotonic(). `quiet_s` are the seconds that the line may stand
    still before; what then waits for it gets TimeoutError. `stop` is asked all the time, and what
    it raises, or Cancelled, is raised instead of what the line that was shut says.
    """
    sock = _open_socket(numbers, address.port, deadline, quiet_s, stop)
    connection = http.client.HTTPConnection(address.host, address.port)
    try:
        if address.scheme == "https":
            # The certificate must be for the name that was asked for, whatever the number.
            sock = ssl.create_default_context().wrap_socket(
                sock, server_hostname=address.host, do_handshake_on_connect=False
            )
    except BaseException:
        sock.close()
        raise
    watchdog = _Watchdog(sock, deadline, stop)
    watchdog.start()
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        connection.sock = sock
        yield connection
        watchdog.outcome.check()  # a line that was shut can look like the end of what was sent
    except BaseException:
        watchdog.outcome.check()
        raise
    finally:
        watchdog.over.set()
        watchdog.join()
        connection.close()
        sock.close()


class _Watchdog(threading.Thread):
    """Shuts a line at its deadline or on a stop, whose error is kept in `outcome`.

    Not only a timeout of each read: a server that sends a byte at a time would never meet one.
    """

    def __init__(self, sock: socket.socket, deadline: float, stop: Stop | None) -> None:
        super().__init__(name="line", daemon=True)
        self.over = threading.Event()
        self.outcome = Outcome[None]()
        self._sock, self._deadline, self._stop_asked = sock, deadline, stop

    def run(self) -> None:
        """Wait for the first of deadline, stop and the end of it all."""
        with self.outcome:
            while (left := self._deadline - time.monotonic()) > 0:
                if self.over.wait(left if self._stop_asked is None else min(left, ASK_SECONDS)):
                    return
                ask(self._stop_asked)
        shut(self._sock)


def _open_socket(
    numbers: list[str], port: int, deadline: float, quiet_s: float | None, stop: Stop | None
) -> socket.socket:
    failure: OSError = OSError("no address answers")
    for number in numbers:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return _connect(number, port, left if quiet_s is None else min(left, quiet_s), stop)
        except OSError as error:
            failure = error
    raise failure


def _connect(number: str, port: int, timeout_s: float, stop: Stop | None) -> socket.socket:
    """A connected socket, with the time given to connect as its timeout. `stop` is asked meanwhile,
    which socket.create_connection cannot.
    """
    rows = socket.getaddrinfo(number, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, kind, protocol, _, where = rows[0]
    opened = socket.socket(family, kind, protocol)
    end = time.monotonic() + timeout_s
    try:
        opened.setblocking(False)
        with suppress(BlockingIOError):
            opened.connect(where)
        with selectors.DefaultSelector() as line:
            line.register(opened, selectors.EVENT_WRITE)
            while not line.select(max(0.0, min(ASK_SECONDS, end - time.monotonic()))):
                ask(stop)
                if time.monotonic() >= end:
                    raise TimeoutError
        if code := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        opened.settimeout(timeout_s)
    except BaseException:
        opened.close()
        raise
    return opened


def shut(opened: socket.socket) -> None:
    """Wake whoever reads from the socket. Not SSLSocket's own shutdown: that drops the encryption
    under the reader's feet.
    """
    try:
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
    except OSError:
        return  # it was closed before its time


def why(error: Exception) -> str:
    """A reason without the server's own words, which may repeat the address with its query."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return "the encrypted connection failed"
        case ConnectionRefusedError():
            return "the connection was refused"
        case http.client.IncompleteRead() | ConnectionError() | http.client.RemoteDisconnected():
            return "the connection broke before the end"
        case http.client.HTTPException() | ValueError():
            return "the server does not answer in HTTP"
        case OSError(strerror=str(text)):
            return text.lower()
        case _:
            return str(error)
