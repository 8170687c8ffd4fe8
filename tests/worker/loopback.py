"""A JSON service on 127.0.0.1 that a test scripts: it logs what comes and can fail on purpose."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    text: str
    at: float  # seconds of the monotonic clock

    @property
    def body(self) -> Any:
        return json.loads(self.text) if self.text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. `drop`: the line is cut instead, after the request was carried out or not."""

    status: int = 200
    body: Any = None  # JSON, or bytes as they are
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    seconds: float = 0.0  # before the answer


class Loopback:
    """Answers by `answer`; a Reply in `faults` goes first and stands in for one answer.

    A fault in `after` is given once a request was carried out, as a lost answer.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Reply] = []
        self.after: list[Reply] = []
        self.always: Mapping[str, str] = {}  # headers of every answer
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length", 0))
                call = Call(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers=dict(self.headers),
                    text=self.rfile.read(length).decode(),
                    at=time.monotonic(),
                )
                reply = service.reply(call)
                time.sleep(reply.seconds)
                if reply.drop:
                    self.close_connection = True
                    return
                plain = isinstance(reply.body, bytes)
                sent = reply.body if plain else json.dumps(reply.body).encode()
                if reply.body is None:
                    sent = b""
                self.send_response(reply.status)
                kind = "application/octet-stream" if plain else "application/json"
                headers = {"Content-Type": kind, **service.always, **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815 - names of the library

            def log_message(self, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer(self, call: Call) -> Reply:
        """What the service does."""
        raise AssertionError(f"{call.method} {call.path} is not answered")

    def reply(self, call: Call) -> Reply:
        """The fault that is next, else the answer."""
        self.calls.append(call)
        if self.faults:
            return self.faults.pop(0)
        reply = self.answer(call)
        return self.after.pop(0) if self.after else reply

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}"

    def sent(self, method: str, end: str = "") -> list[Call]:
        """The requests of a kind, in order."""
        return [call for call in self.calls if call.method == method and call.path.endswith(end)]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
