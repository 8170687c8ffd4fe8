"""Read the Dockerfile: its stages, their steps, and which files a builder would be sent.

Only what the project's Dockerfile uses is understood; anything else is refused by its line.
"""

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STEPS = {"ARG", "ENV", "RUN", "COPY", "WORKDIR", "ENTRYPOINT"}
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


class DockerfileError(ValueError):
    """Something in the Dockerfile that is wrong or that this reader does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction: its flags (`--mount=…` as `("mount", "…")`) and the rest of its text."""

    kind: str
    text: str
    line: int
    flags: tuple[tuple[str, str], ...] = ()

    def flag(self, name: str) -> str | None:
        """The value of a flag that is given at most once."""
        return next((value for key, value in self.flags if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str  # another stage's name, or an image
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """All stages by name, in order, and the arguments that stand before the first."""

    arguments: dict[str, str]
    stages: dict[str, Stage]


def parse(text: str) -> Dockerfile:
    """The Dockerfile of this text. Raises DockerfileError with the line of what is not known."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    name = ""
    for line, instruction in _instructions(text):
        kind, _, rest = instruction.partition(" ")
        kind = kind.upper()
        if kind == "FROM":
            words = rest.split()
            if len(words) != 3 or words[1].upper() != "AS" or words[2] in stages:
                raise DockerfileError(f"line {line}: each stage needs a name of its own")
            base, _, name = words
            stages[name] = Stage(name=name, base=substituted(base, arguments))
        elif kind not in STEPS:
            raise DockerfileError(f"line {line}: {kind} is not known here")
        elif not stages:
            argument, _, value = rest.partition("=")
            arguments[argument] = value
        else:
            flags, rest = _flags(rest.strip())
            stages[name].steps.append(Step(kind=kind, text=rest, line=line, flags=flags))
    return Dockerfile(arguments=arguments, stages=stages)


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction on one line, with the number of its first."""
    held, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first = first or number
        held += line.strip()
        if held.endswith("\\"):
            held = held[:-1]
            continue
        yield first, held
        held, first = "", 0
    if held:
        raise DockerfileError(f"line {first}: the last line continues nowhere")


def _flags(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    flags: list[tuple[str, str]] = []
    while found := re.match(r"--([\w-]+)=(\S+)\s+", text):
        flags.append((found[1], found[2]))
        text = text[found.end() :]
    return tuple(flags), text


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables put in. Raises DockerfileError for one that is not set."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            raise DockerfileError(f"{text!r}: {name} is not set")
        return values[name]

    return VARIABLE.sub(value, text)


def assignments(text: str, values: Mapping[str, str]) -> dict[str, str]:
    """The names and values of an ENV step."""
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: substituted(value, values) for name, _, value in pairs}


def sent_to_builder(root: Path, to: Path) -> None:
    """Copy what .dockerignore lets through, which is all that COPY can see of a checkout."""
    rules: list[tuple[bool, re.Pattern[str]]] = []
    for line in (root / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            rules.append((pattern.startswith("!"), _expression(pattern.lstrip("!"))))
    for path in sorted(root.iterdir()):
        _send(path, root, to, rules, kept=True)


def _send(
    path: Path, root: Path, to: Path, rules: list[tuple[bool, re.Pattern[str]]], *, kept: bool
) -> None:
    name = path.relative_to(root).as_posix()
    for keeps, pattern in rules:  # the last that matches decides; a folder decides for its content
        if pattern.fullmatch(name):
            kept = keeps
    if path.is_file() and kept:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to / name)
    elif path.is_dir() and kept:
        for each in sorted(path.iterdir()):
            _send(each, root, to, rules, kept=kept)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*)", pattern)
    known = {"**/": r"(?:.*/)?", "*": r"[^/]*"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts))
