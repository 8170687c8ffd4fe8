"""Which way a finished clip goes to its caller, and how nothing finished is lost on that way."""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ltx2.delivery.inline import as_base64
from ltx2.delivery.kept import Kept
from ltx2.delivery.keys import segment
from ltx2.delivery.presigned import LOOK_UP_S, check_upload_url, put_to
from ltx2.delivery.s3 import S3Config, S3Store
from ltx2.delivery.store import StoreMisconfigured, is_clip_of, record
from ltx2.errors import BadRequest, ConfigError, DeadlineExceeded, DeliveryFailed
from ltx2.media.address import AddressRefused, parse, resolve
from ltx2.waiting import Stop

logger = logging.getLogger(__name__)

Output = Literal["auto", "base64", "url"]
NO_STORE = (
    "set BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY on the worker, or "
    "give the job an s3Config or an upload_url"
)


class IdTaken(BadRequest):
    """The generation id is that of another request's clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one job wants its clip, and what there is for it."""

    output: Output
    store: S3Store | None
    upload_url: str | None
    own_store: bool = False  # whether the job brought it

    @property
    def to_store(self) -> bool:
        """Whether the clip goes to the store by itself, and not only where nothing else does."""
        return self.store is not None and self.upload_url is None and self.output != "base64"


class Outbox:
    """Hands over the clips of one worker; `store` is the worker's own, where it has one.

    Every clip is kept on disk first, so that an upload that fails, or an answer that is lost, loses
    nothing: the job is sent again with the same generation id and answered from there.
    """

    def __init__(
        self,
        *,
        store: S3Store | None,
        kept: Kept,
        inline_bytes: int,
        allow_private: bool,
        scratch: Path | None = None,
        open_store: Callable[[S3Config], S3Store] = S3Store,
        put: Callable[..., str] = put_to,
    ) -> None:
        self.store = store
        self.kept = kept
        self.inline_bytes = inline_bytes
        self._allow_private = allow_private
        self._scratch = scratch
        self._open_store = open_store
        self._put = put

    @property
    def store_kind(self) -> str:
        """Where clips go when a job does not say: "s3" or "none"."""
        return "none" if self.store is None else self.store.kind

    def route(
        self,
        output: Output,
        s3_config: Mapping[str, Any] | None,
        upload_url: str | None,
        *,
        stop: Stop | None = None,
    ) -> Route:
        """The way of a job's clip, before the clip is made.

        Raises BadRequest with everything against what the job brings, ConfigError where it wants a
        URL and there is nothing to make one.
        """
        problems: list[str] = []
        store = self.store
        if s3_config:
            try:
                store = self._open_store(self._checked(s3_config, stop))
            except BadRequest as refusal:
                problems += refusal.problems
        if upload_url is not None:
            try:
                check_upload_url(upload_url, allow_private=self._allow_private, stop=stop)
            except BadRequest as refusal:
                problems += refusal.problems
        if problems:
            raise BadRequest(problems)
        if output == "url" and store is None and upload_url is None:
            raise ConfigError(f"output url needs a store, and this worker has none: {NO_STORE}")
        return Route(output=output, store=store, upload_url=upload_url, own_store=bool(s3_config))

    def _checked(self, s3_config: Mapping[str, Any], stop: Stop | None) -> S3Config:
        """A job's store, of which the address is known to be one that is sent to."""
        config = S3Config.from_job(s3_config, allow_private=self._allow_private)
        try:
            address = parse(config.endpoint, any_port=self._allow_private)
            deadline = time.monotonic() + LOOK_UP_S
            resolve(address, allow_private=self._allow_private, deadline=deadline, stop=stop)
        except (AddressRefused, OSError) as error:
            raise BadRequest(f"s3Config.endpointUrl: {error}") from error
        return config

    def earlier(
        self,
        route: Route,
        generation_id: str,
        request_sha256: str,
        *,
        stop: Stop = lambda: False,
    ) -> dict[str, Any] | None:
        """The answer to a job whose clip is finished already, handed over anew; else None.

        Raises IdTaken where the generation id was used for another request, BadRequest for one that
        cannot be a key, and what `deliver` does. A store that is the clip's only way and refuses is
        an error here, before anything is spent.
        """
        segment(generation_id)  # refuses an id that cannot be a key
        stored = self._in_store(route, generation_id, stop)
        kept = self.kept.find(generation_id)
        found = stored or kept
        if found is None:
            return None
        if found["request_sha256"] != request_sha256:
            raise IdTaken(
                f"generation_id {generation_id!a} was used for another request; take a new one"
            )
        has_file = kept is not None and kept["request_sha256"] == request_sha256
        logger.info("the clip is finished already: in %s", "the store" if stored else "the folder")
        if stored is not None and route.to_store:
            return self._linked(route, generation_id, found)
        try:
            video = self.kept.path(generation_id)
            if has_file and is_clip_of(found, video):
                return self._hand_over(route, generation_id, video, found, kept=True, stop=stop)
        except FileNotFoundError:  # another process made room for its own clips
            logger.warning("the kept clip is gone")
        if stored is None or route.store is None:
            return None
        with tempfile.TemporaryDirectory(prefix="ltx2-", dir=self._scratch) as folder:
            video = Path(folder) / "video.mp4"
            route.store.fetch(generation_id, video, stop=stop)
            if not is_clip_of(found, video):
                logger.warning("what the store holds is not the clip of its record")
                return None
            kept_now = self._keep(generation_id, video, found, stop)
            return self._hand_over(route, generation_id, video, found, kept=kept_now, stop=stop)

    def deliver(
        self,
        route: Route,
        generation_id: str,
        video: Path,
        result: Mapping[str, Any],
        *,
        request_sha256: str,
        stop: Stop,
        cancelled: Stop | None = None,
    ) -> dict[str, Any]:
        """The result with `video` or `video_url`; a way other than asked for is in `warnings`.

        `cancelled` is asked instead of `stop` while the clip is kept, where `stop` raises when the
        time is up: what is finished is kept however late it is. Raises DeliveryFailed and
        DeadlineExceeded with what to do about it, and Cancelled where `stop` says so.
        """
        found = record(result, request_sha256)
        kept = self._keep(generation_id, video, found, cancelled or stop)
        return self._hand_over(route, generation_id, video, found, kept=kept, stop=stop)

    def _in_store(self, route: Route, generation_id: str, stop: Stop) -> dict[str, Any] | None:
        """The record in the route's store; a store that the clip may not need may fail."""
        if route.store is None:
            return None
        needed = route.to_store and route.output == "url"
        store = route.store if needed else route.store.hurried()
        try:
            return store.find(generation_id, stop=stop)
        except StoreMisconfigured as error:
            if route.to_store:
                wrong = BadRequest if route.own_store else ConfigError
                raise wrong(str(error)) from error
            logger.warning("%s", error)
        except DeliveryFailed as error:
            if needed:
                raise
            logger.warning("%s", error)
        return None

    def _keep(self, generation_id: str, video: Path, found: Mapping[str, Any], stop: Stop) -> bool:
        """Whether the clip is on disk now, so that it can be handed over once more."""
        try:
            self.kept.put(generation_id, video, found, stop=stop)
        except DeliveryFailed as error:
            logger.warning("%s", error)
        there = self.kept.find(generation_id)
        return there is not None and there["request_sha256"] == found["request_sha256"]

    def _hand_over(
        self,
        route: Route,
        generation_id: str,
        video: Path,
        found: Mapping[str, Any],
        *,
        kept: bool,
        stop: Stop,
    ) -> dict[str, Any]:
        size = video.stat().st_size
        fits = size <= self.inline_bytes
        if route.upload_url is None and (
            (route.output == "base64" and fits) or (route.store is None and fits)
        ):
            return self._inline(video, found)
        try:
            if route.upload_url is not None:
                url = self._put(
                    route.upload_url, video, allow_private=self._allow_private, stop=stop
                )
                return _answer(found, video_url=url)
            if route.store is None:
                raise DeliveryFailed(f"{self._too_large(size)}; {NO_STORE}")
            route.store.put(generation_id, video, found, stop=stop)
        except (DeliveryFailed, BadRequest, DeadlineExceeded) as error:
            if route.output == "auto" and fits:
                logger.warning("answered as base64: %s", error)
                return self._inline(video, found, f"sent as base64 because {error}")
            late = isinstance(error, DeadlineExceeded)
            raise (DeadlineExceeded if late else DeliveryFailed)(
                f"{error}; {_fate(generation_id, kept)}"
            ) from error
        said = [f"{self._too_large(size)}: it was uploaded"] if route.output == "base64" else []
        return self._linked(route, generation_id, found, *said)

    def _too_large(self, size: int) -> str:
        return (
            f"the clip has {size:,} bytes, and base64 is answered for up to "
            f"{self.inline_bytes:,} (LTX2_INLINE_BYTES)"
        )

    def _inline(self, video: Path, found: Mapping[str, Any], *said: str) -> dict[str, Any]:
        return _answer(found, *said, video=as_base64(video, self.inline_bytes))

    def _linked(
        self, route: Route, generation_id: str, found: Mapping[str, Any], *said: str
    ) -> dict[str, Any]:
        """The answer with a link into the store."""
        store = route.store
        if store is None:
            raise AssertionError("a link is of a store")
        if not store.config.signs_links:
            said = (*said, "video_url is a key: this store makes no links, read it with S3 keys")
        return _answer(found, *said, video_url=store.link(generation_id))


def _answer(found: Mapping[str, Any], *said: str, **way: str) -> dict[str, Any]:
    """A record's result, the way to its clip first."""
    result: Mapping[str, Any] = found["result"]
    return {**way, **result, "warnings": [*result.get("warnings", ()), *said]}


def _fate(generation_id: str, kept: bool) -> str:
    """What became of a clip that was not handed over."""
    if kept:
        return (
            "the clip is kept on this worker: the same job with generation_id "
            f"{generation_id!a} is answered with it, without making it again"
        )
    return "the clip could not be kept on this worker either"
