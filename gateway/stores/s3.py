"""A store in an S3 bucket: the one that the worker delivers to, so that no video is sent twice."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gateway.stores import PICTURES, THUMBNAIL, StoreFailed
from ltx2.delivery.attempts import Passing, attempt
from ltx2.delivery.keys import METADATA, VIDEO, object_key
from ltx2.delivery.s3 import S3Config
from ltx2.delivery.s3 import S3Store as Clips
from ltx2.delivery.s3_line import Line
from ltx2.delivery.store import record
from ltx2.errors import ConfigError, Ltx2Error
from ltx2.media.upload import Times

LINK_SECONDS = 600
PAUSES = (0.2, 1.0)  # seconds between three tries
TIMES = Times(reach=5.0, quiet=5.0, least=10.0)  # small files: what is quiet is broken
Made = TypeVar("Made")


class S3Store:
    """Files in a bucket. Raises ConfigError for one that signs no links: browsers need them.

    `times` are those of small files; videos have the longer ones of the worker's own store.
    """

    def __init__(self, config: S3Config, *, times: Times = TIMES) -> None:
        if not config.signs_links:
            raise ConfigError(
                "the gateway needs a store whose objects have links; RunPod's network volumes "
                "have none: take another S3 store"
            )
        self.config = config
        self._clips = Clips(config)
        self._line = Line(config, times)

    def find(self, generation_id: str) -> Mapping[str, Any] | None:
        """The worker's result of a video that is there whole; None where there is none."""
        found = self._told(lambda: self._clips.find(generation_id))
        return None if found is None else found["result"]

    def keep(self, generation_id: str, video: Path, result: Mapping[str, Any]) -> None:
        """Take a video and then the result that it came with."""
        metadata = record(result, "")
        self._told(lambda: self._clips.put(generation_id, video, metadata, stop=lambda: False))

    def video(self, generation_id: str, *, download_as: str, attach: bool = False) -> Path | str:
        """An address that is good for minutes and downloads under a name."""
        return self._link(generation_id, VIDEO, download_as, attach=attach)

    def put(self, folder: str, name: str, content: bytes, content_type: str) -> None:
        """Write a small file; it is there whole or not at all."""
        self._do(
            "put_object",
            Key=self._key(folder, name),
            Body=content,
            ContentLength=len(content),
            ContentType=content_type,
        )

    def get(self, folder: str, name: str) -> bytes | None:
        """A small file; None where it is not there."""
        answer = self._do("get_object", Key=self._key(folder, name))
        return None if answer is None else answer["Body"].read()

    def file(
        self, folder: str, name: str, *, download_as: str, attach: bool = False
    ) -> Path | str | None:
        """As `video`, for a small file; None where it is not there."""
        if self._do("head_object", Key=self._key(folder, name)) is None:
            return None
        return self._link(folder, name, download_as, attach=attach)

    def delete(self, folder: str) -> None:
        """A generation's or an upload's files, the record first."""
        for name in (METADATA, THUMBNAIL, *PICTURES.values(), VIDEO):
            self._do("delete_object", Key=self._key(folder, name))

    def check(self) -> None:
        """Whether address, bucket and keys are good."""
        self._told(self._clips.check)

    def _key(self, folder: str, name: str) -> str:
        return object_key(folder, name, self.config.prefix)

    def _link(self, folder: str, name: str, download_as: str, *, attach: bool) -> str:
        kind = "attachment" if attach else "inline"
        with self._line.turn(lambda: False) as client:
            return client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.config.bucket,
                    "Key": self._key(folder, name),
                    "ResponseContentDisposition": f'{kind}; filename="{download_as}"',
                },
                ExpiresIn=LINK_SECONDS,
            )

    def _do(self, operation: str, **params: Any) -> Any:  # noqa: ANN401 - botocore's own
        """What botocore answers; None where the object is not there. Every operation may be done
        twice, so a line that is quiet is given up soon and tried again. Raises StoreFailed.
        """

        def once() -> Any:  # noqa: ANN401 - botocore's own
            return self._once(operation, **params)

        return self._told(lambda: attempt(once, stop=lambda: False, pauses=PAUSES))

    def _once(self, operation: str, **params: Any) -> Any:  # noqa: ANN401 - botocore's own
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with self._line.turn(lambda: False) as client:
                return getattr(client, operation)(Bucket=self.config.bucket, **params)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status == 404:
                return None
            said = f"the store answered {status} to {operation}"
            raise (Passing(said) if status >= 500 else StoreFailed(said)) from error
        except (BotoCoreError, OSError, ValueError) as error:
            name = type(error).__name__  # its words may hold the whole address
            raise Passing(f"the store cannot be reached for {operation} ({name})") from error

    def _told(self, work: Callable[[], Made]) -> Made:
        try:
            return work()
        except Ltx2Error as error:
            raise StoreFailed(str(error)) from error
