"""The gateway's log: a line of JSON for each event, with the request's id and without secrets."""

import contextvars
import json
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO, cast

from ltx2.worker.scrub import Scrub, cut, plain

OURS = ("gateway", "ltx2")
MOST_CHARACTERS = 4_000  # of a message or a field; a traceback may have twice as many


@dataclass(slots=True)
class Asking:
    """The request that the log speaks of; `account` is known once the caller is."""

    request_id: str
    account: str | None = None


current: contextvars.ContextVar[Asking | None] = contextvars.ContextVar("asking", default=None)


def log_event(
    logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: object
) -> None:
    """Log a message with fields of its own, such as `generation` and `seconds`, in one line."""
    logger.log(level, message, extra={"fields": fields}, stacklevel=2)


def configure(
    level: str = "info", *, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> logging.Handler:
    """Make this process log lines of JSON to stderr, or to `stream`. May be called again.

    The texts of `secrets` never appear. Handlers that libraries gave themselves are taken off:
    call it after they were imported. Of libraries only warnings are shown.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(Scrub(secrets)))
    root = logging.getLogger()
    named = [each for each in logging.root.manager.loggerDict.values() if _has_handlers(each)]
    for each in [root, *cast("list[logging.Logger]", named)]:
        each.handlers[:] = []
        each.propagate = True
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(capture=True)
    return handler


class JsonLines(logging.Formatter):
    """A record as one line: time, level, message, logger, request id, then its own fields."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        asking = current.get()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": self._clean(record.getMessage(), MOST_CHARACTERS),
            "logger": record.name,
            "request_id": None if asking is None else asking.request_id,
        }
        if asking is not None and asking.account is not None:
            line["account"] = asking.account
        fields = cast("Mapping[str, object]", getattr(record, "fields", {}))
        own = {name: each for name, each in fields.items() if name not in line}
        line |= {name: plain(each, self._field) for name, each in own.items()}
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line["traceback"] = self._clean(traceback, 2 * MOST_CHARACTERS)
        return json.dumps(line)

    def _field(self, text: str) -> str:
        return self._clean(text, MOST_CHARACTERS)

    def _clean(self, text: str, most: int) -> str:
        return cut(self._scrub(text), most)


def _has_handlers(each: object) -> bool:
    return isinstance(each, logging.Logger) and bool(each.handlers)
