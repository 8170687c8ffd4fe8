"""How a class of settings is read from environment variables: a row for each, read all at once."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, get_args

from ltx2.errors import ConfigError

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class _RefusedError(ValueError):
    """A variable's text is not what it takes; the message says what would be."""


def flag(text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise _RefusedError("1 or 0")
    return text.lower() in _YES


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise _RefusedError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def number(low: float, high: float, unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise _RefusedError(f"{unit} from {low:g} to {high:g}")
        return value

    return read


def seconds(low: float, high: float) -> Callable[[str], float]:
    return number(low, high, "seconds")


def choice(literal: Any) -> Callable[[str], Any]:  # noqa: ANN401 - a Literal has no type of its own
    choices: tuple[str, ...] = get_args(literal)

    def read(text: str) -> str:
        if text not in choices:
            raise _RefusedError("one of " + ", ".join(choices))
        return text

    return read


def device(text: str) -> str:
    kind, _, index = text.partition(":")
    if text == "cpu" or (kind == "cuda" and (index.isdigit() or text == "cuda")):
        return text
    raise _RefusedError("cpu, cuda or cuda:N")


def folder(text: str) -> Path:
    return Path(text).expanduser()


def row(
    variable: str,
    read: Callable[[str], Any],
    sentence: str,
    *,
    default: Any = None,  # noqa: ANN401 - as the field's type
    shown: str | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A setting: its variable, reader, sentence, and how the document writes its default."""
    note = {
        "variable": variable,
        "read": read,
        "sentence": sentence,
        "shown": shown,
        "secret": secret,
    }
    return field(default=default, metadata=note, repr=not secret)


def folders(text: str) -> tuple[Path, ...]:
    """Folders separated by `:`; each must be absolute, so that a folder means one place."""
    found = tuple(folder(part) for part in text.split(":") if part)
    if not all(each.is_absolute() for each in found):
        raise _RefusedError("absolute paths separated by :")
    return found


def rows(settings: type[Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Every setting: its variable, its field and its notes, in the order of the document."""
    return [(part.metadata["variable"], part.name, part.metadata) for part in fields(settings)]


def read(settings: type[Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values that the environment sets, by field, and a sentence for each that cannot be read.

    An empty variable counts as not set.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for variable, name, note in rows(settings):
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            values[name] = note["read"](text)
        except _RefusedError as wanted:
            got = "" if note["secret"] else f"; it is {text!r}"
            problems.append(f"{variable} must be {wanted}{got}")
    return values, problems


def read_whole(settings: type[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The same values. Raises ConfigError with a sentence for each that cannot be read."""
    values, problems = read(settings, environ)
    if problems:
        raise ConfigError("; ".join(problems))
    return values


def misspelt(environ: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """A sentence for each unknown `LTX2_` variable: a misspelt limit must not be no limit."""
    known = list(known)
    problems: list[str] = []
    for variable in sorted(environ):
        if variable.startswith("LTX2_") and variable not in known:
            close = difflib.get_close_matches(variable, known, n=2)
            advice = f"did you mean {' or '.join(close)}?" if close else "see docs/configuration.md"
            problems.append(f"{variable} is no setting; {advice}")
    return problems


def shown(settings: Any) -> dict[str, str | int | float | bool | None]:  # noqa: ANN401 - an instance of any
    """The settings in effect by variable, for people: secrets are masked."""
    found: dict[str, str | int | float | bool | None] = {}
    for variable, name, note in rows(type(settings)):
        value = getattr(settings, name)
        if note["secret"] and value:
            value = "set"
        if isinstance(value, tuple):
            value = ":".join(str(each) for each in value)
        found[variable] = str(value) if isinstance(value, Path) else value
    return found


def table(settings: type[Any]) -> str:
    """The table of docs/configuration.md."""
    lines = ["| variable | default | what it does |", "|-|-|-|"]
    for part in fields(settings):
        note = part.metadata
        value: Any = part.default
        default = note["shown"] or {None: "not set", False: "0", True: "1"}.get(value, f"`{value}`")
        lines.append(f"| `{note['variable']}` | {default} | {note['sentence']} |")
    return "\n".join(lines)
