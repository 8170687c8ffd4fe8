"""A file through the gateway, whole or a part, as players and downloads ask for it."""

import re
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from gateway.api.reception import Content, Elsewhere, Stored
from gateway.refusals import Refusal

# Long enough to watch a clip to its end; the file of an id never changes.
_CACHE = "private, max-age=3600"
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")
_RANGE = re.compile(r"bytes=\s*(\d{1,18})?-(\d{1,18})?\s*", re.IGNORECASE)


class Unsatisfiable(Refusal):
    """A part that begins behind the file's end, which has `size` bytes."""

    type = "invalid_request_error"
    status = 416

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the file has {size:,} bytes; ask for a part of them")


def content_response(request: Request, content: Content, *, download: bool) -> Response:
    """The file with Range (206), If-Range and If-None-Match (304), or a 307 to the store's link.

    `download` makes browsers save it instead of showing it; the name is there either way. A range
    that cannot be read, or that names several parts, is passed over, as HTTP has it. Raises
    Unsatisfiable, and what reading the first piece raises.
    """
    match content:
        case Elsewhere(url=url):
            return RedirectResponse(url, 307, headers={"cache-control": "no-store"})
        case Stored():
            return _stored(request, content, download=download)


def _stored(request: Request, content: Stored, *, download: bool) -> Response:
    tag = f'"{content.tag}"'
    kind = "attachment" if download else "inline"
    headers = {
        "accept-ranges": "bytes",
        "cache-control": _CACHE,
        "content-disposition": f'{kind}; filename="{_UNSAFE_NAME.sub("_", content.name)}"',
        "etag": tag,
    }
    if tag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if asked is None or request.headers.get("if-range", tag) != tag:
        part = None
    else:
        part = part_of(asked, content.size)
    first, last = part or (0, content.size - 1)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{last}/{content.size}"
    headers["content-length"] = str(last - first + 1)
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=content.content_type)
    pieces = _begun(content.read(first, last - first + 1))
    return StreamingResponse(pieces, status, headers, media_type=content.content_type)


def part_of(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None for one that is passed over.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(asked)
    if found is None or found.group(1, 2) == (None, None):
        return None
    first, last = found.group(1, 2)
    if first is None:
        if not int(last):
            raise Unsatisfiable(size)
        return max(0, size - int(last)), size - 1
    if last is not None and int(last) < int(first):
        return None
    if int(first) >= size:
        raise Unsatisfiable(size)
    return int(first), size - 1 if last is None else min(int(last), size - 1)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, the first of them read now: what cannot be read is refused with a status."""
    piece = next(pieces, b"")

    def all_of_them() -> Iterator[bytes]:
        yield piece
        yield from pieces

    return all_of_them()
