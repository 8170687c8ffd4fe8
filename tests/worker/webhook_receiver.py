"""A receiver of webhooks on loopback, which answers as it is told."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """Keeps what was posted. `answers` are the next statuses, then 200; "hang" never answers."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.posts, self.times = [], []
        self.over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.times.append(time.monotonic())
                receiver.posts.append((self.headers["content-type"], json.loads(body)))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                if answer == "hang":
                    receiver.over.wait(20)
                    answer = 200
                # The sender may have given up on a hanging receiver.
                with contextlib.suppress(OSError):
                    self.send_response(answer)
                    if answer == 307:
                        self.send_header("location", "/elsewhere")
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?secret=s3cr3t"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
