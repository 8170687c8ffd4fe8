"""The keys of a generation's objects: a safe folder for each generation id, never a shared one.

A key names an object of a store and a file of a folder alike, so what a segment may hold is what
both take.
"""

import hashlib
from urllib.parse import quote

from ltx2.errors import BadRequest

VIDEO, METADATA = "video.mp4", "metadata.json"
MOST_CHARACTERS = 200  # of a generation id
# The longest name that file systems take has 255 bytes, and what is written beside it is longer.
MOST_SEGMENT = 160


def object_key(generation_id: str, name: str, prefix: str = "") -> str:
    """`prefix/<segment>/name`. Raises BadRequest for an id that cannot be a key."""
    parts = [prefix.strip("/"), segment(generation_id), name]
    return "/".join(part for part in parts if part)


def segment(generation_id: str) -> str:
    """The id as one segment of a key: two ids never have the same one.

    What is not a letter, a digit or one of `-._` is percent-encoded, a leading dot too; an id that
    becomes too long ends in its SHA-256 behind a `~`, which no other segment holds. Raises
    BadRequest for an id that is empty, too long or not printable.
    """
    if not 0 < len(generation_id) <= MOST_CHARACTERS or not generation_id.isprintable():
        raise BadRequest(
            f"generation_id must have 1 to {MOST_CHARACTERS} printable characters; "
            f"got {len(generation_id)}: {generation_id[:60]!a}"
        )
    safe = quote(generation_id, safe="").replace("~", "%7E")
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) <= MOST_SEGMENT:
        return safe
    digest = hashlib.sha256(generation_id.encode()).hexdigest()
    return f"{safe[: MOST_SEGMENT - len(digest) - 1]}~{digest}"
