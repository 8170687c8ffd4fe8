"""How requests to an S3 store go out: signed by botocore, sent by this project's own connection.

So the number that was checked is the number that gets the keys' signature, an upload ends when the
job is stopped, and every store is treated alike. What botocore would do by itself and may not here:
follow redirects, ask a proxy, and repeat a request while nobody can stop it.
"""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from ltx2.delivery.endpoint import REGION
from ltx2.delivery.s3_config import S3Config
from ltx2.media.address import parse
from ltx2.media.upload import Reply, Times, exchange
from ltx2.waiting import Stop

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

_SAID_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,40})</Region>")
_MAKING = Lock()  # a session makes one client at a time
_WRONG_REGION = (301, 307, 400)  # what stores answer to a signature for another region


class OtherRegion(Exception):
    """The store says that the bucket lies in another region than the one that was signed for."""

    def __init__(self, region: str) -> None:
        self.region = region
        super().__init__(f"the bucket is in the region {region}")


@lru_cache(maxsize=1)
def _session() -> "Session":
    """One for all clients: it reads a megabyte of descriptions, and the keys are each client's."""
    from boto3.session import Session

    # Below this it logs each request with its signature, which is good for a link.
    logging.getLogger("botocore").setLevel(logging.INFO)
    return Session()


class Line:
    """A client of botocore's whose requests go through `exchange`. One request at a time."""

    def __init__(self, config: S3Config, times: Times) -> None:
        from botocore.config import Config

        self._config = config
        self._times = times
        self._lock = Lock()
        self._stop: Stop = lambda: False
        self._into: IO[bytes] | None = None
        self._into_bytes = 0
        options = Config(
            signature_version="s3v4",
            s3={"addressing_style": "virtual" if config.virtual else "path"},
            # Checksums that are new in the protocol are refused by stores other than AWS.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        with _MAKING:
            self.client: Any = _session().client(
                "s3",
                endpoint_url=config.endpoint,
                region_name=config.region,
                aws_access_key_id=config.access_key,
                aws_secret_access_key=config.secret_key,
                config=options,
            )
        self.client.meta.events.register("before-send.s3", self._send)

    @contextmanager
    def turn(
        self, stop: Stop, *, into: IO[bytes] | None = None, into_bytes: int = 0
    ) -> Iterator[Any]:
        """The client, for one request; `stop` ends it, and `into` gets the body of a good answer.

        Raises what `exchange` does, OtherRegion, and botocore's errors.
        """
        with self._lock:
            self._stop, self._into, self._into_bytes = stop, into, into_bytes
            try:
                yield self.client
            finally:
                self._stop, self._into = (lambda: False), None

    def _send(self, request: "AWSPreparedRequest", **_context: object) -> "AWSResponse":
        """Send a signed request in botocore's stead."""
        from botocore.awsrequest import AWSResponse

        headers = {name: _text(value) for name, value in request.headers.items()}
        body: Any = request.body
        if body is None or isinstance(body, bytes | bytearray | str):
            data = body.encode() if isinstance(body, str) else bytes(body or b"")
            body, length = io.BytesIO(data), len(data)
        else:
            length = int(headers["Content-Length"])
        reply = exchange(
            request.method,
            parse(request.url, any_port=self._config.allow_private),
            headers=headers,
            body=body,
            length=length,
            times=self._times,
            allow_private=self._config.allow_private,
            stop=self._stop,
            into=self._into,
            into_bytes=self._into_bytes,
        )
        region = _region_said(reply)
        if region is not None and region != self._config.region:
            raise OtherRegion(region)
        said = dict(reply.headers)
        if request.method != "HEAD" and self._into is None:
            said["content-length"] = str(
                len(reply.body)
            )  # it may have been cut off, and is judged as it is
        return AWSResponse(request.url, reply.status, said, _Raw(reply.body))


class _Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self, *_arguments: object, **_options: object) -> Iterator[bytes]:
        """All of it, once."""
        if rest := self.read():
            yield rest


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _region_said(reply: Reply) -> str | None:
    """The bucket's region, where an answer refuses the one that was signed for."""
    if reply.status not in _WRONG_REGION:
        return None
    said = reply.headers.get("x-amz-bucket-region", "")
    if not said and (found := _SAID_REGION.search(reply.body)):
        said = found[1].decode("ascii")
    return said if REGION.fullmatch(said) else None
