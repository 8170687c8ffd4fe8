"""A clip inside the answer, as base64."""

import base64
from pathlib import Path

from ltx2.errors import TooLarge


def as_base64(video: Path, max_bytes: int) -> str:
    """The file as base64. Raises TooLarge above `max_bytes`, before anything is read."""
    size = video.stat().st_size
    if size > max_bytes:
        raise TooLarge(f"the clip has {size:,} bytes; base64 is answered for up to {max_bytes:,}")
    return base64.b64encode(video.read_bytes()).decode("ascii")
