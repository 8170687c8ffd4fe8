"""An HTTP server on loopback that fails as it is told, request by request."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Answer:
    """What the double does with one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    read: int | None = None  # bytes of the body to read before the line is cut; None for all
    hang_s: float = 0.0  # seconds before the answer


class Handler(BaseHTTPRequestHandler):
    """Takes the next answer of its server's script, else stores and gives objects."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_DELETE(self):
        self.answer()

    def answer(self):
        asked = Asked(self.command, self.path, dict(self.headers))
        self.server.asked.append(asked)
        self.close_connection = True
        script = self.server.script.get(self.command, [])
        wanted = script.pop(0) if script else None
        length = int(self.headers.get("Content-Length", 0))
        if wanted is not None and wanted.read is not None:
            self.rfile.read(wanted.read)
            return  # with bytes unread, so the other side sees a reset
        asked.body = self.rfile.read(length)
        if wanted is None:
            wanted = self.server.stored(asked)
        if wanted.hang_s:
            self.server.let_go.wait(wanted.hang_s)
        self.send_response(wanted.status)
        headers = {"Content-Length": str(len(wanted.body)), **wanted.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(wanted.body)

    def log_message(self, *_):
        """Tests print nothing."""


class Double(ThreadingHTTPServer):
    """`script` holds answers by method, each used once; after them it keeps what it is sent."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = {method: list(answers) for method, answers in script.items()}
        self.asked: list[Asked] = []
        self.objects: dict[str, Any] = {}
        self.let_go = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, method):
        return sum(asked.method == method for asked in self.asked)

    def stored(self, asked):
        key = asked.path.partition("?")[0]
        if asked.method == "PUT":
            self.objects[key] = (asked.body, asked.headers.get("Content-Type", ""))
            return Answer(headers={"ETag": '"0"'})
        if key not in self.objects:
            return error(404, "NoSuchKey")
        body, content_type = self.objects[key]
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        return Answer(body=body, headers=headers)

    def handle_error(self, request, client_address):
        """A client that hangs up is what some tests are about."""


def error(status, code, more=""):
    """A refusal in the words of S3."""
    text = f"<Error><Code>{code}</Code><Message>secret words</Message>{more}</Error>"
    return Answer(status=status, body=text.encode(), headers={"Content-Type": "application/xml"})


@contextmanager
def doubling(wrap=None, **script):
    """A running double; `script` holds lists of answers by method, `wrap` gives it TLS."""
    server = Double(script)
    if wrap is not None:
        server.socket = wrap(server.socket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def stop_after(seconds):
    """A question that is answered with yes from then on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
