"""The LoRA catalogue: loras/catalog.toml as values. No torch."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast, get_args

Kind = Literal["camera", "detailer", "distilled"]
# The passes that a kind acts in, each with a strength of its own.
PASSES: Mapping[str, tuple[str, ...]] = {
    "camera": ("base", "refine"),
    "distilled": ("base", "refine"),
    "detailer": ("detail",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the catalogue."""

    id: str
    title: str
    kind: Kind
    repository: str  # on the hub; empty for the embedded checkpoint's own
    file: str  # path inside the repository
    generations: tuple[str, ...]  # rows of pipelines.models.GENERATIONS it was made for
    strengths: Mapping[str, float]  # default strength by pass, those of its kind in PASSES
    licence: str
    source: str  # page that describes it; empty for the embedded checkpoint's own
    prompt_suffix: str = ""  # words for the same move; cameras only
    # Detailers only: pixels of the clip per pixel of what it follows. The file's own metadata wins.
    reference_downscale: int | None = None


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry, in the file's order. Raises ValueError as `parse` does."""
    return parse(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))


def cameras() -> tuple[str, ...]:
    """The ids of the camera moves, each once, whatever generations have a file for it."""
    return tuple(dict.fromkeys(entry.id for entry in entries() if entry.kind == "camera"))


def get(lora: str, generation: str) -> Entry:
    """The entry of an id for a generation. Raises LookupError that lists the ids which fit."""
    fitting = {entry.id: entry for entry in entries() if generation in entry.generations}
    if lora in fitting:
        return fitting[lora]
    listed = ", ".join(fitting) or "none"
    raise LookupError(f"no LoRA {lora!r} for {generation}; the catalogue has {listed}")


def parse(text: str) -> tuple[Entry, ...]:
    """The entries of a catalogue's text. Raises ValueError with every problem of every block."""
    data = tomllib.loads(text)
    problems = [f"unknown table {name!r}" for name in data if name != "lora"]
    blocks = cast("list[dict[str, object]]", data.get("lora", []))
    taken: set[tuple[str, str]] = set()
    for number, block in enumerate(blocks, 1):
        found = _problems(block)
        if not found:
            entry = _entry(block)
            mine = {(entry.id, generation) for generation in entry.generations}
            found = [f"a second file for {name} of {row}" for name, row in sorted(mine & taken)]
            taken |= mine
        problems += [f"block {number} ({block.get('id', 'no id')}): {problem}" for problem in found]
    if problems:
        raise ValueError("the LoRA catalogue: " + "; ".join(problems))
    return tuple(_entry(block) for block in blocks)


def _entry(block: Mapping[str, object]) -> Entry:
    """A block that has no problems, as a value."""
    given = cast("dict[str, str]", dict(block))
    strengths = cast("dict[str, float]", block["strengths"])
    return Entry(
        id=given["id"],
        title=given["title"],
        kind=cast("Kind", given["kind"]),
        repository=given["repository"],
        file=given["file"],
        generations=tuple(cast("list[str]", block["generations"])),
        strengths=MappingProxyType({key: float(value) for key, value in strengths.items()}),
        licence=given["licence"],
        source=given["source"],
        prompt_suffix=given.get("prompt_suffix", ""),
        reference_downscale=cast("int | None", block.get("reference_downscale")),
    )


def _problems(block: Mapping[str, object]) -> list[str]:
    known = [field.name for field in fields(Entry)]
    found = [f"unknown key {key!r}" for key in block if key not in known]
    for key in known:
        if key in block:
            what, fits = _RULES[key]
            if not fits(block[key]):
                found.append(f"{key} must be {what}")
        elif key not in _OPTIONAL:
            found.append(f"{key} is missing")
    passes = PASSES.get(str(block.get("kind")))
    given = block.get("strengths")
    if (
        passes
        and isinstance(given, dict)
        and sorted(cast("dict[str, object]", given)) != sorted(passes)
    ):
        found.append(f"strengths must name {' and '.join(passes)}, no other pass")
    if (block.get("kind") == "camera") != bool(block.get("prompt_suffix")):
        found.append("prompt_suffix is for cameras, and every camera needs one")
    if (block.get("kind") == "detailer") != ("reference_downscale" in block):
        found.append("reference_downscale is for detailers, and every detailer needs one")
    if bool(block.get("repository")) != bool(block.get("source")):
        found.append("repository and source go together")
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_file(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".safetensors") and ".." not in value


def _is_generations(value: object) -> bool:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return bool(items) and all(_is_text(item) for item in items)


def _is_strengths(value: object) -> bool:
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return bool(given) and all(
        isinstance(number, int | float) and not isinstance(number, bool) and -2 <= number <= 2
        for number in given.values()
    )


def _is_downscale(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4


_OPTIONAL = ("prompt_suffix", "reference_downscale")
_TEXT = ("a text", _is_text)
_RULES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "id": _TEXT,
    "title": _TEXT,
    "kind": (f"one of {', '.join(get_args(Kind))}", lambda value: value in get_args(Kind)),
    "repository": ("a text, empty for an embedded file", lambda value: isinstance(value, str)),
    "file": ("the path of a .safetensors file", _is_file),
    "generations": ("a list of generations", _is_generations),
    "strengths": ("a number from -2 to 2 for each pass", _is_strengths),
    "licence": _TEXT,
    "source": ("a text, empty for an embedded file", lambda value: isinstance(value, str)),
    "prompt_suffix": _TEXT,
    "reference_downscale": ("a whole number from 1 to 4", _is_downscale),
}
