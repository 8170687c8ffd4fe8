"""A small HTTP server on loopback that misbehaves on request."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers from the server's `answers` by path: bytes, a status, or a function."""

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        answer = self.server.answers.get(self.path.partition("?")[0], 404)
        if callable(answer):
            answer(self)
        elif isinstance(answer, int):
            self.send_error(answer)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_):
        """Tests print nothing."""


class Server(ThreadingHTTPServer):
    """Keeps what it was asked in `asked`: (path with query, headers)."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked = []

    @property
    def port(self):
        return self.server_address[1]

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def handle_error(self, request, client_address):
        """A client that hangs up is what some tests are about."""


@contextmanager
def serving(answers, wrap=None):
    """A running server; `wrap` turns its socket into one with TLS."""
    server = Server(answers)
    if wrap is not None:
        server.socket = wrap(server.socket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redirect(location, status=302):
    """Sends the client elsewhere."""

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def raw(data, *, drip_s=0.0, rest_s=0.0):
    """Sends `data` as it is, a byte each `drip_s` seconds; the line stays open `rest_s` more."""

    def answer(handler):
        if drip_s:
            for byte in data:
                handler.wfile.write(bytes([byte]))
                time.sleep(drip_s)
        else:
            handler.wfile.write(data)
        time.sleep(rest_s)
        handler.close_connection = True

    return answer
