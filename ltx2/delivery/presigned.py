"""Delivery to a URL that the caller gave for it: a PUT that was signed for this one file."""

import http.client
import time
from collections.abc import Sequence
from pathlib import Path

from ltx2.delivery.attempts import PAUSES, Passing, attempt
from ltx2.errors import BadRequest, DeliveryFailed
from ltx2.media.address import AddressRefused, parse, resolve
from ltx2.media.connection import why
from ltx2.media.upload import Times, exchange
from ltx2.waiting import Stop

LOOK_UP_S = 10.0  # seconds for the name of the host


def check_upload_url(
    url: str, *, allow_private: bool, name: str = "upload_url", stop: Stop | None = None
) -> None:
    """Refuse an address that nothing would be sent to. Raises BadRequest.

    Whether it takes the clip is known only when it is sent; it is good once, so it is not tried.
    """
    try:
        address = parse(url, any_port=allow_private)
        deadline = time.monotonic() + LOOK_UP_S
        resolve(address, allow_private=allow_private, deadline=deadline, stop=stop)
    except AddressRefused as error:
        raise BadRequest(f"{name} {error}") from error
    except OSError as error:
        raise BadRequest(f"{name} cannot be reached: {error}") from error


def put_to(
    url: str,
    video: Path,
    *,
    content_type: str = "video/mp4",
    times: Times | None = None,
    allow_private: bool,
    stop: Stop,
    name: str = "upload_url",
    pauses: Sequence[float] = PAUSES,
) -> str:
    """Send the file to the URL; the URL without its query, which is where the file then is.

    Raises BadRequest for an address that is refused, DeliveryFailed, and Cancelled where `stop`
    says so. A PUT of the same file to the same address may be repeated, so a line that broke and
    an error of the server's are tried again.
    """
    size = video.stat().st_size
    try:
        address = parse(url, any_port=allow_private)
    except AddressRefused as error:
        raise BadRequest(f"{name} {error}") from error

    def once() -> None:
        try:
            with video.open("rb") as body:
                reply = exchange(
                    "PUT",
                    address,
                    headers={"Content-Type": content_type, "User-Agent": "ltx2"},
                    body=body,
                    length=size,
                    times=times or Times(),
                    allow_private=allow_private,
                    stop=stop,
                )
        except AddressRefused as error:
            raise BadRequest(f"{name} {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = str(error) if isinstance(error, TimeoutError) else why(error)
            raise Passing(f"{name} cannot be reached: {said}") from error
        _judge(reply.status, name, content_type)

    attempt(once, stop=stop, pauses=pauses)
    return url.partition("#")[0].partition("?")[0]


def _judge(status: int, name: str, content_type: str) -> None:
    """Raise what an answer means, where it is not that the file was taken."""
    match status:
        case 200 | 201 | 204:
            return
        case 403 | 401:
            raise DeliveryFailed(
                f"{name} refuses the clip ({status}): it has expired, was used before, or was "
                f"signed for something other than a PUT of {content_type}"
            )
        case 413:
            raise DeliveryFailed(f"{name} refuses the clip (413): it takes no file of that size")
        case _ if 300 <= status < 400:
            raise DeliveryFailed(f"{name} leads elsewhere ({status}); a clip is not sent on")
        case _ if status >= 500 or status in (408, 425, 429):
            raise Passing(f"{name} answered {status}")
        case _:
            raise DeliveryFailed(f"{name} refuses the clip ({status})")
