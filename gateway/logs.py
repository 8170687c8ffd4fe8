"""The gateway's log: a line of JSON for each event, with the request's id and without secrets."""

import contextvars
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from ltx2.worker.json_lines import Lines, take_over
from ltx2.worker.scrub import Scrub

OURS = ("gateway", "ltx2")


@dataclass(slots=True)
class Asking:
    """The request that the log speaks of; `account` is known once the caller is."""

    request_id: str
    account: str | None = None


current: contextvars.ContextVar[Asking | None] = contextvars.ContextVar("asking", default=None)


def configure(
    level: str = "info", *, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> logging.Handler:
    """Make this process log lines of JSON to stderr, or to `stream`. May be called again.

    The texts of `secrets` never appear. Handlers that libraries gave themselves are taken off:
    call it after they were imported. Of libraries only warnings are shown.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(about=_about, hide=Scrub(secrets)))
    take_over(handler, ours=OURS, level=level)
    return handler


def _about() -> dict[str, object]:
    asking = current.get()
    if asking is None:
        return {"request_id": None}
    about: dict[str, object] = {"request_id": asking.request_id}
    return about if asking.account is None else {**about, "account": asking.account}
