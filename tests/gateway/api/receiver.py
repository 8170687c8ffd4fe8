"""A receiver of webhooks on this machine: keeps what comes, answers what it is told."""

import contextlib
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Got:
    """A webhook that came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """`answers` are statuses, one a call, the last one for all that follow."""

    def __init__(self, *answers, headers=None, hold=None):
        self.answers = list(answers) or [200]
        self.headers = headers or {}
        self.hold = hold  # an Event that every answer waits for
        self.got: list[Got] = []
        self.lock = threading.Lock()
        self.came = threading.Event()  # the first webhook

    def status(self):
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @contextlib.contextmanager
    def serving(self):
        """The address it listens at."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, named, body))
                receiver.came.set()
                if receiver.hold is not None:
                    receiver.hold.wait(30)
                with contextlib.suppress(ConnectionError):
                    self.send_response(receiver.status())
                    for name, value in receiver.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_):
                """Quiet."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/hook"
            finally:
                if self.hold is not None:
                    self.hold.set()
                server.shutdown()
                thread.join()
