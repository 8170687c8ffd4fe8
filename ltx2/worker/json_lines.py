"""A record of a log as one line of JSON, whatever the record holds: a log must fail no work."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

from ltx2.worker.scrub import cut

MOST_CHARACTERS = 4_000  # of a message or a field; a traceback may have twice as many
MOST_NAME = 200  # characters of what a line is about: anybody might have given its name
LARGEST = 2**63  # of a number; readers of JSON have no larger integers
# Looked through at all. What a cut takes from the middle of a longer text is never shown.
READ_CHARACTERS = 200_000

Hide = Callable[[str], str]  # a text without what must not be shown


def log_event(
    logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: object
) -> None:
    """Log a message with fields of its own, such as `phase` and `seconds`, in the same line."""
    logger.log(level, message, extra={"fields": fields}, stacklevel=2)


class Lines(logging.Formatter):
    """A record as a line: what it is about, level, message, time, logger, then its own fields.

    `about` says what the process is at, `hide` takes secrets out of every text.
    """

    def __init__(self, *, about: Callable[[], Mapping[str, object]], hide: Hide) -> None:
        super().__init__()
        self._about = about
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            **{name: self._plain(each, MOST_NAME) for name, each in self._about().items()},
            "level": record.levelname,
            "message": self._clean(_message(record), MOST_CHARACTERS),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
        }
        fields: object = getattr(record, "fields", {})
        if isinstance(fields, Mapping):
            given = cast("Mapping[object, object]", fields)
            named = {_text(name): each for name, each in given.items()}
            line |= {name: self._plain(each) for name, each in named.items() if name not in line}
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line["traceback"] = self._clean(traceback, 2 * MOST_CHARACTERS)
        return json.dumps(line)

    def _plain(self, value: object, most: int = MOST_CHARACTERS) -> object:
        """A field as JSON takes it: numbers as they are, all else as a cleaned text."""
        if value is None or isinstance(value, bool):
            return value
        # NaN is no JSON, and what has too many digits is not written out.
        if isinstance(value, int | float) and abs(value) < LARGEST:
            return value
        return self._clean(_text(value), most)

    def _clean(self, text: str, most: int) -> str:
        return cut(self._hide(cut(text, READ_CHARACTERS)), most)


def take_over(handler: logging.Handler, *, ours: Iterable[str], level: str) -> None:
    """Make `handler` the process's only one. Of libraries only warnings are shown; of the loggers
    named in `ours`, what is of `level` and above.
    """
    root = logging.getLogger()
    for each in [root, *_named_loggers()]:
        if each is root or each.handlers:
            each.handlers[:] = []
            each.propagate = True
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ours:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(capture=True)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - of a library: its values may not fit, or have no text
        return f"{_text(record.msg)} (its values do not fit)"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - any code may stand behind a value's text
        return f"[{type(value).__name__} without a text: {type(error).__name__}]"


def _named_loggers() -> list[logging.Logger]:
    """Those that exist by now, not those that only stand between two names."""
    found = list(logging.root.manager.loggerDict.values())
    return [each for each in found if isinstance(each, logging.Logger)]
