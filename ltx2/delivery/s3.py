"""Delivery to an S3 store: AWS, and every other that speaks its protocol."""

import http.client
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from ltx2.delivery.attempts import PAUSES, Passing, attempt
from ltx2.delivery.keys import METADATA, VIDEO, object_key
from ltx2.delivery.s3_config import S3Config
from ltx2.delivery.s3_line import Line, OtherRegion
from ltx2.delivery.store import StoreMisconfigured, clip_bytes, decode_record, encode_record
from ltx2.errors import DeliveryFailed, Ltx2Error
from ltx2.media.address import AddressRefused
from ltx2.media.connection import why
from ltx2.media.upload import Times
from ltx2.waiting import Stop

__all__ = ["S3Config", "S3Store"]

logger = logging.getLogger(__name__)
# RunPod's store takes up to 500 MB in one piece, and a part that fails is all that is sent again.
PART = 64 * 2**20  # bytes; each but the last must be of 5 MiB or more
CALL_OFF_S = 10.0  # seconds for telling a store that no more parts will come
_MISSING = ("NoSuchKey", "NotFound", "404")
_DENIED = ("AccessDenied", "403", "Forbidden")
# Refusals that the next attempt will meet, too, and what to look at.
_FAULTS = {
    "InvalidAccessKeyId": "it does not know the access key",
    "SignatureDoesNotMatch": "the secret key, or the region, is not the right one",
    "NoSuchBucket": "there is no such bucket",
    "InvalidBucketName": "the bucket's name is not valid there",
    "PermanentRedirect": "the bucket is at another endpoint",
    "AuthorizationHeaderMalformed": "the region is not the right one",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AllAccessDisabled": "the bucket is closed",
    **dict.fromkeys(
        _DENIED, "the keys need leave to read and write objects (GetObject, PutObject)"
    ),
}
_PASSING = ("SlowDown", "RequestTimeout", "Throttling", "OperationAborted", "TooManyRequests")
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")
Made = TypeVar("Made")


class _Missing(Exception):
    """There is no such object, or no such upload any more."""


class _Denied(StoreMisconfigured):
    """The keys may not do this; a store may say so of an object that is not there, too."""


# One attempt of seconds, for what a store is asked while somebody waits and can do without.
HURRIED = Times(reach=5.0, quiet=5.0, least=10.0)


class S3Store:
    """Finished clips in a bucket. Errors name neither keys, nor the host, nor a signed link."""

    kind = "s3"

    def __init__(
        self,
        config: S3Config,
        *,
        times: Times | None = None,
        pauses: Sequence[float] = PAUSES,
        part: int = PART,
    ) -> None:
        self.config = config
        self._times = times or Times()
        self._pauses = pauses
        self._part = part
        self._line = Line(config, self._times)

    def find(self, generation_id: str, *, stop: Stop = lambda: False) -> dict[str, Any] | None:
        """The record of a clip that is there with the size it should have.

        Raises StoreMisconfigured, DeliveryFailed or Cancelled where the store does not say.
        """
        try:
            text = self._do(
                "get_object",
                stop,
                lambda answer: answer["Body"].read(),
                Key=self._key(generation_id, METADATA),
            )
            found = decode_record(text)
            if found is None:
                logger.warning("a record in %s cannot be read and counts as none", self.config.name)
                return None
            size = self._size(generation_id, stop)[0]
        except _Missing:
            return None
        except _Denied:
            # Keys that may not list a bucket are told this of what is not there. A clip that is
            # there after all is made again, which costs time and loses nothing.
            logger.warning(
                "%s does not say whether there is a clip: the keys may not list it",
                self.config.name,
            )
            return None
        return found if size == clip_bytes(found) else None

    def hurried(self) -> "S3Store":
        """The same store, asked once and for seconds only."""
        return S3Store(self.config, times=HURRIED, pauses=(), part=self._part)

    def check(self) -> None:
        """Ask for something that is not there, to see whether address, bucket and keys are good.

        Raises StoreMisconfigured, or DeliveryFailed where the store is not reached.
        """
        self.hurried().find("is-the-store-there")

    def put(
        self, generation_id: str, video: Path, metadata: Mapping[str, Any], *, stop: Stop
    ) -> None:
        """Store the clip, see that it is there whole, and then write its record.

        Raises DeliveryFailed, StoreMisconfigured, and Cancelled where `stop` says so.
        """
        text = encode_record(metadata)
        size = video.stat().st_size
        key = self._key(generation_id, VIDEO)
        try:
            with video.open("rb") as file:
                if size <= self._part:
                    self._put_object(key, _Window(file, 0, size), size, "video/mp4", stop)
                else:
                    self._put_parts(key, file, size, stop)
            self._verify(generation_id, size, stop)
            record = self._key(generation_id, METADATA)
            self._put_object(record, text, len(text), "application/json", stop)
        except _Missing as error:
            raise DeliveryFailed(
                f"{self.config.name} took the clip, and it is not there"
            ) from error

    def fetch(self, generation_id: str, into: Path, *, stop: Stop) -> None:
        """Write the stored clip to a file. Raises as `put`."""
        try:
            size = self._size(generation_id, stop)[0]
            with into.open("wb") as file:

                def restart() -> None:
                    file.seek(0)
                    file.truncate()

                self._do(
                    "get_object",
                    stop,
                    lambda _answer: None,
                    before=restart,
                    into=file,
                    into_bytes=size,
                    Key=self._key(generation_id, VIDEO),
                )
        except _Missing as error:
            raise DeliveryFailed(f"the clip is no longer in {self.config.name}") from error
        if into.stat().st_size != size:
            raise DeliveryFailed(f"the clip came from {self.config.name} with another size")

    def link(self, generation_id: str) -> str:
        """A public address, else a link signed anew, else the s3:// key of a store without links.

        Nothing is asked of the store for it.
        """
        key, config = self._key(generation_id, VIDEO), self.config
        if config.public_url is not None:
            return f"{config.public_url}/{quote(key)}"
        if not config.signs_links:
            return f"s3://{config.bucket}/{key}"
        return self._line.client.generate_presigned_url(
            "get_object",
            Params={"Bucket": config.bucket, "Key": key},
            ExpiresIn=config.link_seconds,
        )

    def _key(self, generation_id: str, name: str) -> str:
        return object_key(generation_id, name, self.config.prefix)

    def _put_object(
        self, key: str, body: "_Window | bytes", size: int, content_type: str, stop: Stop
    ) -> None:
        self._do(
            "put_object",
            stop,
            lambda _answer: None,
            before=None if isinstance(body, bytes) else body.rewind,
            Key=key,
            Body=body,
            ContentLength=size,
            ContentType=content_type,
        )

    def _put_parts(self, key: str, file: IO[bytes], size: int, stop: Stop) -> None:
        """A large clip, part by part. What was begun is called off when it fails."""
        upload: str = self._do(
            "create_multipart_upload",
            stop,
            lambda answer: answer["UploadId"],
            Key=key,
            ContentType="video/mp4",
        )
        try:
            parts: list[dict[str, Any]] = []
            for number, start in enumerate(range(0, size, self._part), start=1):
                body = _Window(file, start, min(self._part, size - start))
                tag: str = self._do(
                    "upload_part",
                    stop,
                    lambda answer: answer["ETag"],
                    before=body.rewind,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=body,
                    ContentLength=body.length,
                )
                parts.append({"PartNumber": number, "ETag": tag})
            try:
                self._do(
                    "complete_multipart_upload",
                    stop,
                    lambda _answer: None,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                )
            except _Missing:
                # A first attempt did it and its answer was lost; whether so is verified next.
                logger.info("the upload was complete before it was completed again")
        except Ltx2Error:
            self._call_off(key, upload)
            raise

    def _call_off(self, key: str, upload: str) -> None:
        """Parts that nobody completes would be paid for. The error that led here matters more, and
        the job may be stopped already, so this is tried once and not for long.
        """
        end = time.monotonic() + CALL_OFF_S
        try:
            self._once(
                "abort_multipart_upload",
                lambda: time.monotonic() >= end,
                Key=key,
                UploadId=upload,
            )
        except (_Missing, Passing, Ltx2Error) as error:
            logger.warning("an upload in parts was not called off: %s", error)

    def _verify(self, generation_id: str, size: int, stop: Stop) -> None:
        found, content_type = self._size(generation_id, stop)
        if found != size:
            raise DeliveryFailed(
                f"{self.config.name} has {found:,} bytes of a clip of {size:,} bytes"
            )
        # A volume behind RunPod's address keeps files and not what type they were sent as.
        if content_type.partition(";")[0].strip() != "video/mp4" and self.config.signs_links:
            raise DeliveryFailed(
                f"{self.config.name} says that the clip is {content_type[:60]!a}, not video/mp4"
            )

    def _size(self, generation_id: str, stop: Stop) -> tuple[int, str]:
        """Bytes and content type of the clip that is stored."""
        return self._do(
            "head_object",
            stop,
            lambda answer: (answer["ContentLength"], answer.get("ContentType", "")),
            Key=self._key(generation_id, VIDEO),
        )

    def _do(
        self,
        operation: str,
        stop: Stop,
        take: Callable[[Any], Made],
        *,
        before: Callable[[], None] | None = None,
        **params: Any,  # noqa: ANN401 - as the operation has them
    ) -> Made:
        """What `take` reads of an operation's answer, attempted again where that may help."""

        def once() -> Made:
            if before is not None:
                before()
            answer = self._once(operation, stop, **params)
            try:
                return take(answer)
            except KeyError as error:
                raise Passing(f"{self.config.name} answers what is not S3 (no {error})") from error

        try:
            return attempt(once, stop=stop, pauses=self._pauses)
        except OtherRegion as other:
            if self.config.region_known:
                raise StoreMisconfigured(
                    f"{self.config.name} refuses: {other}, not in {self.config.region}"
                ) from other
            # Nobody said where the bucket lies, and now the store has.
            self.config = self.config.in_region(other.region)
        self._line = Line(self.config, self._times)
        return self._do(operation, stop, take, before=before, **params)

    def _once(
        self,
        operation: str,
        stop: Stop,
        *,
        into: IO[bytes] | None = None,
        into_bytes: int = 0,
        **params: Any,  # noqa: ANN401 - as the operation has them
    ) -> Any:  # noqa: ANN401 - as botocore answers
        from botocore.exceptions import BotoCoreError, ClientError

        name = self.config.name
        try:
            with self._line.turn(stop, into=into, into_bytes=into_bytes) as client:
                return getattr(client, operation)(Bucket=self.config.bucket, **params)
        except ClientError as error:
            raise _refusal(error.response, name) from error
        except AddressRefused as error:
            raise StoreMisconfigured(f"{name} {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = str(error) if isinstance(error, TimeoutError) else why(error)
            raise Passing(f"{name} cannot be reached: {said}") from error
        except BotoCoreError as error:  # its words may hold the whole address
            raise Passing(f"{name} answers what is not S3 ({type(error).__name__})") from error


class _Window:
    """A part of a file as a body that can be sent twice."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._at = 0
        self.length = length

    def rewind(self) -> None:
        """Begin again."""
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        self._at = offset + (0, self._at, self.length)[whence]
        return self._at

    def tell(self) -> int:
        """As of a file."""
        return self._at

    def read(self, count: int = -1) -> bytes:
        """As of a file."""
        left = max(0, self.length - self._at)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if count < 0 else min(count, left))
        self._at += len(data)
        return data


def _refusal(answer: Mapping[str, Any], name: str) -> Exception:
    """What an answer of a store means, without its own words: they may repeat the request."""
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    given = str(answer.get("Error", {}).get("Code", ""))
    code = given if _CODE.fullmatch(given) else ""
    said = f"{status}" if code in ("", str(status)) else f"{status} {code}"
    if code in (*_MISSING, "NoSuchUpload"):
        return _Missing(said)
    if code in _DENIED or (code not in _FAULTS and status == 403):
        return _Denied(f"{name} refuses ({said}): {_FAULTS['AccessDenied']}")
    if code in _FAULTS:
        return StoreMisconfigured(f"{name} refuses ({said}): {_FAULTS[code]}")
    if status >= 500 or status == 429 or code.startswith(_PASSING):
        return Passing(f"{name} answered {said}")
    return DeliveryFailed(f"{name} refuses ({said})")
