"""A small real HTTP server on loopback that speaks the part of the hub's protocol that a download
uses.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".model")  # kept in LFS, and so named by SHA-256


def blob_name(path: str, content: bytes) -> str:
    """The name of a file's content: SHA-256 in LFS, else git's own."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass(slots=True)
class FakeHub:
    """Repositories as {name: {path: bytes}}, and the faults to show."""

    repositories: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)  # need `token`
    token: str = "good-token"
    cut: dict[str, int] = field(
        default_factory=dict
    )  # path -> bytes before the connection drops, once
    corrupt: set[str] = field(default_factory=set)  # paths delivered with a flipped byte
    status: dict[str, int] = field(default_factory=dict)  # path -> HTTP status instead of the file
    cdn: str | None = None  # address that files are redirected to, as the hub does with large ones
    authorizations: list[str | None] = field(default_factory=list)  # of each request
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of the GETs of one file."""
        return [r for method, p, r in self.requests if method == "GET" and p.endswith(f"/{path}")]


def _listing(hub: FakeHub, name: str) -> dict[str, object]:
    siblings: list[dict[str, object]] = []
    for path, content in hub.repositories[name].items():
        entry: dict[str, object] = {
            "rfilename": path,
            "size": len(content),
            "blobId": hashlib.sha1(path.encode()).hexdigest()
            if path.endswith(LARGE)
            else blob_name(path, content),
        }
        if path.endswith(LARGE):
            sha256 = blob_name(path, content)
            entry["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 134}
        siblings.append(entry)
    gated = "auto" if name in hub.gated else False
    return {"id": name, "modelId": name, "sha": COMMIT, "gated": gated, "siblings": siblings}


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Say nothing: the requests are recorded."""

        def do_GET(self) -> None:
            self._serve()

        def do_HEAD(self) -> None:
            self._serve()

        def _serve(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range")))
            hub.authorizations.append(self.headers.get("Authorization"))
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                name, rest = "/".join(parts[2:4]), parts[4:]
            else:
                name, rest = "/".join(parts[:2]), parts[2:]
            if name not in hub.repositories:
                self._error(404, "RepoNotFound")
            elif parts[0] == "api" and rest != ["auth-check"]:
                self._answer(200, json.dumps(_listing(hub, name)).encode(), {})
            elif name in hub.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._error(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            elif rest == ["auth-check"]:
                self._answer(200, b"{}", {})
            else:
                self._file(name, "/".join(rest[2:]))

        def _file(self, name: str, path: str) -> None:
            content = hub.repositories[name].get(path)
            if path in hub.status:
                self._error(hub.status[path], None)
                return
            if content is None:
                self._error(404, "EntryNotFound")
                return
            blob = blob_name(path, content)
            headers = {
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{blob}"',
                "X-Linked-Etag": f'"{blob}"',
                "X-Linked-Size": str(len(content)),
                "Accept-Ranges": "bytes",
            }
            if path in hub.corrupt:
                content = bytes([content[0] ^ 1]) + content[1:]
            if hub.cdn is not None:
                self._answer(302, b"", {**headers, "Location": hub.cdn + self.path})
                return
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cut = hub.cut.pop(path, None) if self.command == "GET" else None
            self._answer(206 if start else 200, content[start:], headers, cut=cut)

        def _error(self, status: int, code: str | None) -> None:
            self._answer(status, b"{}", {"X-Error-Code": code} if code else {})

        def _answer(
            self, status: int, body: bytes, headers: dict[str, str], *, cut: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Run the server for the length of the block; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
