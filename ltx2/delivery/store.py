"""What a store of finished clips does, and the record that it writes beside a clip."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from ltx2.errors import DeliveryFailed
from ltx2.files import digest_of
from ltx2.waiting import Stop

# Never taken from a record: the platform acts on the first three, and a way to the clip is made
# anew each time. A store may be a stranger's, and so may what lies in it.
NOT_KEPT = ("error", "error_code", "refresh_worker", "video", "video_url")


class StoreMisconfigured(DeliveryFailed):
    """A store that refuses for a reason that the next attempt will meet, too."""


class Store(Protocol):
    """Finished clips by generation id: `video.mp4`, and `metadata.json` written after it."""

    def find(self, generation_id: str) -> dict[str, Any] | None:
        """The record of a clip that is there whole; None where there is none."""
        ...

    def put(
        self, generation_id: str, video: Path, metadata: Mapping[str, Any], *, stop: Stop
    ) -> None:
        """Store a clip and then its record. Raises DeliveryFailed; Cancelled where `stop` says."""
        ...

    def link(self, generation_id: str) -> str:
        """Where the clip can be fetched, made anew each time."""
        ...


def record(result: Mapping[str, Any], request_sha256: str) -> dict[str, Any]:
    """What is written beside a clip: its result, and which request it was made of."""
    kept = {name: value for name, value in result.items() if name not in NOT_KEPT}
    return {"result": kept, "request_sha256": request_sha256}


def encode_record(metadata: Mapping[str, Any]) -> bytes:
    """A record as JSON that every parser takes. Raises DeliveryFailed for what is none."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, indent=1)
        return (text + "\n").encode()
    except (TypeError, ValueError) as error:
        raise DeliveryFailed(f"the result cannot be written as JSON: {error}") from error


def decode_record(text: bytes) -> dict[str, Any] | None:
    """A record from a store, without what a record has no say in; None for what is none."""
    try:
        found: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    written = cast("dict[str, Any]", found)
    result, request_sha256 = written.get("result"), written.get("request_sha256")
    if not isinstance(result, dict) or not isinstance(request_sha256, str):
        return None
    kept = record(cast("dict[str, Any]", result), request_sha256)
    return kept if isinstance(kept["result"].get("warnings", []), list) else None


def clip_bytes(found: Mapping[str, Any]) -> int:
    """The size of the clip that a record speaks of; -1 where it does not say."""
    size = found["result"].get("bytes")
    return size if isinstance(size, int) and not isinstance(size, bool) else -1


def is_clip_of(found: Mapping[str, Any], video: Path) -> bool:
    """Whether a file is the clip that a record speaks of, by its SHA-256.

    A disk may have lost some of it, and another process may have put another clip there.
    """
    return digest_of(video) == found["result"].get("sha256")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
