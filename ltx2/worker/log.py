"""The worker's log: a line of JSON for each event, with its job's id and without its secrets."""

import contextvars
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO, cast

from ltx2.forms import shown
from ltx2.setting_rows import rows
from ltx2.worker.json_lines import Lines, take_over
from ltx2.worker.scrub import SECRET, Hiding, Scrub
from ltx2.worker.settings import WorkerSettings

OURS = ("ltx2", "pipelines", "loras", "handler", "__main__")
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
    take_over(handler, ours=OURS, level=worker.log_level)
    return handler


class JsonLines(Lines):
    """A record as one line: requestId first; keys and prompts of the job are kept out of it."""

    def __init__(self, scrub: Scrub, *, prompts: bool) -> None:
        super().__init__(about=_about, hide=self._without)
        self._scrub = scrub
        self._prompts = prompts

    def _without(self, text: str) -> str:
        if (job := _current.get()) is not None:
            text = job.secrets(text)
            if not self._prompts:
                text = job.prompts(text)
        return self._scrub(text)


def _about() -> dict[str, object]:
    job = _current.get()
    return {"requestId": None if job is None else job.id}


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
