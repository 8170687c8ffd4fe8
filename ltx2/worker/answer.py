"""What a job is answered: a result that can be sent, or an error in the contract's words."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ltx2.errors import DeliveryFailed, Ltx2Error

CODES = (
    "BAD_REQUEST", "MEDIA_REFUSED", "TOO_LARGE", "OUT_OF_MEMORY", "DEADLINE", "CANCELLED",
    "DELIVERY_FAILED", "CONFIG", "INTERNAL",
)  # fmt: skip
# The platform refuses a body above 10 MB on /run, drops it with one line in the log and calls the
# job completed. What is not the clip takes a few kilobytes.
MOST_BYTES = 20_000_000


# Folders before a file's name, not in a URL.
_FOLDERS = re.compile(r"(?<![\w:/.~-])~?/(?:[^\s/'\":;,()]+/)+(?=[^\s/'\":;,()])")
_OPERATORS = ("CONFIG", "INTERNAL")  # what speaks of the worker and not of the request


def refused(error: Ltx2Error) -> dict[str, Any]:
    """An error as the caller reads it. Where the worker keeps its files stays in the log."""
    said = str(error)
    return failure(error.code, without_folders(said) if error.code in _OPERATORS else said)


def without_folders(text: str) -> str:
    """The text with the last name of each absolute path alone."""
    return _FOLDERS.sub("", text)


def failure(code: str, message: str) -> dict[str, Any]:
    """A failed job. `error` is a string that is never empty: anything else would not fail it."""
    return {"error": f"{code}: {message}", "error_code": code}


def sendable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, once it is sure that it can be sent.

    The platform's client drops what is no JSON or too long without telling anyone. Raises
    DeliveryFailed.
    """
    try:
        text = json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise DeliveryFailed(f"the result cannot be written as JSON: {error}") from error
    if len(text) > MOST_BYTES:
        raise DeliveryFailed(
            f"the result has {len(text):,} bytes and the platform takes {MOST_BYTES:,}; "
            "configure a store"
        )
    return dict(answer)
