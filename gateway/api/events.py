"""A generation's events as a stream: the whole first, then what changes, to its end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from gateway.api import views
from gateway.refusals import NotFound
from gateway.states import Generation, Queued, Submitted

RETRY_MS = 3_000  # before a browser connects again
COMMENT_SECONDS = 15.0  # between two signs of life, so that no proxy closes the line
LOOK_SECONDS = 0.5  # between two looks at the database

Look = Callable[[], Generation]


async def stream(
    first: Generation,
    look: Look,
    *,
    look_seconds: float = LOOK_SECONDS,
    comment_seconds: float = COMMENT_SECONDS,
) -> AsyncIterator[bytes]:
    """The lines of `text/event-stream`. `look` blocks, so it runs on a thread.

    It begins with a full snapshot, so that whoever connects again needs no history.
    """
    yield f"retry: {RETRY_MS}\n\n".encode()
    yield snapshot(first)
    seen, silent = _news(first), 0.0
    while not first.ended:
        await asyncio.sleep(look_seconds)
        silent += look_seconds
        try:
            now = await asyncio.to_thread(look)
        except NotFound:  # deleted meanwhile
            yield event("deleted", seen[0] + 1, {"id": first.id})
            return
        if now.ended:
            yield snapshot(now)
            return
        if _news(now) != seen:
            seen, silent = _news(now), 0.0
            yield progress(now)
        elif silent >= comment_seconds:
            silent = 0.0
            yield b": still here\n\n"


def _news(given: Generation) -> tuple[int, int | None]:
    """What an event is worth: a change of its own, or of its place in the queue."""
    match given.state:
        case Queued(position=position) | Submitted(position=position):
            return given.version, position
        case _:
            return given.version, None


def snapshot(given: Generation) -> bytes:
    """The event with everything."""
    return event("generation", given.version, views.generation(given).model_dump(mode="json"))


def progress(given: Generation) -> bytes:
    """The event with what changes while it runs."""
    whole = views.generation(given).model_dump(mode="json")
    names = ("id", "status", "cancel_requested", "progress", "started_at")
    return event("progress", given.version, {name: whole[name] for name in names})


def event(kind: str, number: int, data: Mapping[str, Any]) -> bytes:
    """One event. JSON has no line ends, so the data is one line."""
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {kind}\nid: {number}\ndata: {text}\n\n".encode()
