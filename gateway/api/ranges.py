"""A video from this machine's disk, whole or a part, as players and downloads ask for it."""

import re

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from gateway.api.reception import Content, Elsewhere, OnDisk
from gateway.refusals import NotFound, Refusal

# Long enough to watch a clip to its end; the file of an id never changes.
_CACHE = "private, max-age=3600"
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")
_RANGE = re.compile(rb"bytes=\s*(\d{1,18}-\d{0,18}|-\d{1,18})\s*", re.IGNORECASE)


class Unsatisfiable(Refusal):
    """A part that begins behind the file's end, which has `size` bytes."""

    type = "invalid_request_error"
    status = 416

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the video has {size:,} bytes; ask for a part of them")


def content_response(request: Request, content: Content, *, download: bool) -> Response:
    """The file with Range (206) and If-Range, or a 307 to the store's signed link.

    `download` makes browsers save it instead of showing it; the name is there either way. A range
    that cannot be read, or that names several parts, is passed over, as HTTP has it. Raises
    Unsatisfiable, and NotFound for a file that is gone.
    """
    match content:
        case Elsewhere(url=url):
            return RedirectResponse(url, 307, headers={"cache-control": "no-store"})
        case OnDisk():
            return _from_disk(request, content, download=download)


def _from_disk(request: Request, content: OnDisk, *, download: bool) -> FileResponse:
    try:
        about = content.path.stat()
    except FileNotFoundError as error:
        raise NotFound("the file of this generation is gone") from error
    _judge_range(request, about.st_size)
    return FileResponse(
        content.path,
        media_type=content.content_type,
        filename=_UNSAFE_NAME.sub("_", content.name),
        content_disposition_type="attachment" if download else "inline",
        stat_result=about,
        headers={"cache-control": _CACHE},
    )


def _judge_range(request: Request, size: int) -> None:
    """Take a range off the request that is to be passed over. Raises Unsatisfiable."""
    given = [value for name, value in request.scope["headers"] if name == b"range"]
    if not given:
        return
    found = _RANGE.fullmatch(given[0]) if len(given) == 1 else None
    first, _, last = found[1].partition(b"-") if found else (b"", b"", b"")
    if found is None or (first and last and int(last) < int(first)):
        headers = request.scope["headers"]
        request.scope["headers"] = [pair for pair in headers if pair[0] != b"range"]
    elif "if-range" not in request.headers and (int(first) >= size if first else not int(last)):
        raise Unsatisfiable(size)
