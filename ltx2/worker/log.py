"""The worker's log: a line of JSON for each event, with its job's id and without its secrets."""

import contextvars
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from ltx2.forms import shown
from ltx2.setting_rows import rows
from ltx2.worker.scrub import SECRET, Hiding, Scrub, cut, plain
from ltx2.worker.settings import WorkerSettings

OURS = ("ltx2", "pipelines", "loras", "handler", "__main__")
MOST_CHARACTERS = 4_000  # of a message or a field; a traceback may have twice as many
MOST_ID = 200  # characters of a job's name, which anybody might have given
# Looked through at all. What a cut takes from the middle of a longer text is never shown.
_READ_CHARACTERS = 200_000
# Characters of a prompt: what is shorter says little and is found in every word, and of what is
# longer than any that is taken an error shows no more than its beginning.
_LEAST_PROMPT, _LONGEST_PROMPT = 8, 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The job that the log speaks of, and what of it is nobody's business."""

    id: str
    secrets: Hiding
    prompts: Hiding


_current: contextvars.ContextVar[_Job | None] = contextvars.ContextVar("job", default=None)


@contextmanager
def job_context(name: str, job: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Everything that is logged within is about the job called `name`.

    With the `job` itself, its prompts and the keys that it brings are kept out of the log.
    """
    given = job if isinstance(job, Mapping) else {}
    token = _current.set(
        _Job(id=name, secrets=Hiding(_secrets_of(given)), prompts=Hiding(_prompts_of(given)))
    )
    try:
        yield
    finally:
        _current.reset(token)


def log_event(
    logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: object
) -> None:
    """Log a message with fields of its own, such as `phase` and `seconds`, in the same line."""
    logger.log(level, message, extra={"fields": fields}, stacklevel=2)


def configure(
    worker: WorkerSettings, *settings: object, stream: TextIO | None = None
) -> logging.Handler:
    """Make this process log lines of JSON to stderr, or to `stream`. May be called again.

    Values of secret settings, those of `settings` included, never appear. Handlers that libraries
    gave themselves or the root are taken off: call it after they were imported. Of libraries only
    warnings are shown.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        JsonLines(Scrub(_secret_values(worker, *settings)), prompts=worker.log_prompts)
    )
    root = logging.getLogger()
    for each in [root, *_named_loggers()]:
        if each is root or each.handlers:
            each.handlers[:] = []
            each.propagate = True
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(worker.log_level.upper())
    logging.captureWarnings(capture=True)
    return handler


class JsonLines(logging.Formatter):
    """A record as one line: requestId, level, message, time, then the fields of its own."""

    def __init__(self, scrub: Scrub, *, prompts: bool) -> None:
        super().__init__()
        self._scrub = scrub
        self._prompts = prompts

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. Whatever the record holds: a log must not fail a job."""
        fields = cast("Mapping[str, object]", getattr(record, "fields", {}))
        line: dict[str, object] = {
            "requestId": None if (job := _current.get()) is None else self._clean(job.id, MOST_ID),
            "level": record.levelname,
            "message": self._clean(_message(record), MOST_CHARACTERS),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
        }
        own = {name: each for name, each in fields.items() if name not in line}
        line |= {name: plain(each, self._field) for name, each in own.items()}
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line["traceback"] = self._clean(traceback, 2 * MOST_CHARACTERS)
        return json.dumps(line)

    def _field(self, text: str) -> str:
        return self._clean(text, MOST_CHARACTERS)

    def _clean(self, text: str, most: int) -> str:
        text = cut(text, _READ_CHARACTERS)
        if (job := _current.get()) is not None:
            text = job.secrets(text)
            if not self._prompts:
                text = job.prompts(text)
        return cut(self._scrub(text), most)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError, IndexError):  # of a library, with other values
        return f"{record.msg} (its values do not fit)"


def _named_loggers() -> list[logging.Logger]:
    """Those that exist by now, not those that only stand between two names."""
    found = list(logging.root.manager.loggerDict.values())
    return [each for each in found if isinstance(each, logging.Logger)]


def _secret_values(*settings: object) -> list[str]:
    """The values of every setting that is a secret."""
    found: list[str] = []
    for each in settings:
        for _, name, note in rows(type(each)):
            value: object = getattr(each, name)
            if note["secret"] and isinstance(value, str):
                found.append(value)
    return found


def _secrets_of(job: Mapping[str, Any]) -> dict[str, str]:
    """The keys of the store that a job brings."""
    config: object = job.get("s3Config")
    values = cast("Mapping[object, object]", config) if isinstance(config, Mapping) else {}
    names = ("accessId", "accessSecret")
    return {value: SECRET for name in names if isinstance(value := values.get(name), str)}


def _prompts_of(job: Mapping[str, Any]) -> dict[str, str]:
    """A job's prompts, as they are and as an error shows them."""
    given: object = job.get("input")
    fields = cast("Mapping[object, object]", given) if isinstance(given, Mapping) else {}
    found: dict[str, str] = {}
    for name in ("prompt", "negative_prompt"):
        text = fields.get(name)
        if not isinstance(text, str) or len(text.strip()) < _LEAST_PROMPT:
            continue
        spellings = [shown(text)[1:-1].removesuffix("...")]
        if len(text) <= _LONGEST_PROMPT:
            spellings += [text, text.strip(), ascii(text)[1:-1]]
        found |= dict.fromkeys(spellings, f"[{name}]")
    return found
