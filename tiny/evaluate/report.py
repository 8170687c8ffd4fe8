"""The report: what was measured, of which weights, as a file beside them.

Measures come in groups. A group's are replaced by ones from as many clips or more, never by ones
from fewer, and those of other weights are dropped.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from tiny.evaluate.measures import Measure

FILE = "measures.json"
WEIGHTS = "*.safetensors"


class DamagedReport(ValueError):
    """A file that is no report; its text says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Measures that were taken together, from so many clips of the prompts or shots of a camera."""

    clips: int
    measures: tuple[Measure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Groups of measures by name, and the digest of the weights that they are of."""

    weights: str
    groups: Mapping[str, Group] = field(default_factory=dict)

    def with_group(self, name: str, clips: int, measures: Sequence[Measure]) -> Self:
        """With these measures, unless there are some from more clips."""
        known = self.groups.get(name)
        if known is not None and known.clips > clips:
            return self
        group = Group(clips=clips, measures=tuple(measures))
        return replace(self, groups={**self.groups, name: group})

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types; whether a measure holds is said beside it."""
        return {
            "weights": self.weights,
            "groups": {
                name: {
                    "clips": group.clips,
                    "measures": [
                        {**asdict(measure), "holds": measure.holds} for measure in group.measures
                    ],
                }
                for name, group in self.groups.items()
            },
        }


def digest(folder: Path) -> str:
    """SHA-256 of the weight files in a folder and below it, with their names."""
    total = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob(WEIGHTS)}
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name} {content}\n".encode())
    return total.hexdigest()


def read(path: Path) -> Report:
    """A report. Raises OSError where there is none and DamagedReport for something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Report(
            weights=found["weights"],
            groups={
                name: Group(
                    clips=group["clips"],
                    measures=tuple(
                        Measure(**{k: v for k, v in row.items() if k != "holds"})
                        for row in group["measures"]
                    ),
                )
                for name, group in found["groups"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedReport(f"{path} is no report of measures; remove it") from error


def begun(path: Path, weights: str) -> Report:
    """The report at `path` where it is of these weights, else an empty one."""
    found = read(path) if path.exists() else None
    return found if found is not None and found.weights == weights else Report(weights=weights)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process is inside this `with` for a report of the same folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write(path: Path, report: Report) -> None:
    """Write a report, whole or not at all."""
    working = path.with_suffix(".new")
    working.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    working.replace(path)
