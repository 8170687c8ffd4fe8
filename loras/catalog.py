"""The LoRA catalogue: loras/catalog.toml as values. No torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

Kind = Literal["camera", "detailer", "distilled"]
PASSES = ("base", "refine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the catalogue."""

    id: str
    title: str
    kind: Kind
    repository: str  # on the hub; empty for the embedded checkpoint's own
    file: str
    generations: tuple[str, ...]  # rows of pipelines.models.GENERATIONS it was made for
    strengths: Mapping[str, float]  # default strength by pass, "base" and "refine"
    licence: str
    source: str  # page that describes it
    prompt_suffix: str = ""  # words for the same move; cameras only


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry, in the file's order. Raises ValueError for a block that does not fit."""
    data = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    return tuple(_entry(block) for block in data["lora"])


def cameras() -> tuple[str, ...]:
    """The ids of the camera moves."""
    return tuple(dict.fromkeys(entry.id for entry in entries() if entry.kind == "camera"))


def get(lora: str, generation: str) -> Entry:
    """The entry of an id for a generation. Raises LookupError that lists what fits."""
    fitting = [entry for entry in entries() if generation in entry.generations]
    for entry in fitting:
        if entry.id == lora:
            return entry
    listed = ", ".join(entry.id for entry in fitting) or "none"
    raise LookupError(f"no LoRA {lora!r} for {generation}; the catalogue has {listed}")


def _entry(block: dict[str, Any]) -> Entry:
    try:
        entry = Entry(**{**block, "generations": tuple(block["generations"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"catalog.toml, {block.get('id', block)}: {error}") from error
    if entry.kind not in get_args(Kind) or set(entry.strengths) != set(PASSES):
        raise ValueError(f"catalog.toml, {entry.id}: kind or strengths do not fit")
    return entry
