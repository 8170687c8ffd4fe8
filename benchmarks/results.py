"""Results: what a scenario found, how it is printed, and the files they are kept in."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.card import slug
from benchmarks.timing import Sample, spread

FOLDER = Path(__file__).with_name("results")
DIGITS = 4  # that are worth keeping


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a scenario found. `problems` make the command fail; `notes` say what was left out."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, samples: Sequence[Sample], **facts: Any) -> dict[str, Any]:  # noqa: ANN401
        """A row of what runs took."""
        row = {"name": name, **summary(samples), **facts}
        self.rows.append(row)
        return row

    def put(self, name: str, samples: Sequence[Sample], **facts: Any) -> dict[str, Any]:  # noqa: ANN401
        """The same, in the place of an earlier row of that name."""
        row = self.add(name, samples, **facts)
        self.rows.pop()
        for index, each in enumerate(self.rows):
            if each["name"] == name:
                self.rows[index] = row
                return row
        self.rows.append(row)
        return row

    def has(self, *names: str) -> bool:
        """Whether there is a row of each of these names."""
        return set(names) <= {row["name"] for row in self.rows}

    def compare(self, name: str, other: str) -> None:
        """The ratio of two rows: the median over the turns that they took side by side.

        What slows the machine for a while slows both of a turn. Nothing where a row is not there.
        """
        if not self.has(name, other):
            return
        one, two = (
            next(row["each"] for row in self.rows if row["name"] == wanted)
            for wanted in (name, other)
        )
        turns = [first / second for first, second in zip(one, two, strict=False)]
        self.ratios[f"{name} / {other}"] = statistics.median(turns)


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians with the lowest and highest, and the highest of all peaks."""
    names = dict.fromkeys(name for sample in samples for name in sample.stages)
    peaks = dict.fromkeys(name for sample in samples for name in sample.peaks)
    found: dict[str, Any] = {
        "runs": len(samples),
        "seconds": spread([sample.seconds for sample in samples]),
        "each": [sample.seconds for sample in samples],
    }
    if names:
        found["stages"] = {
            name: spread([sample.stages.get(name, 0.0) for sample in samples]) for name in names
        }
    if peaks:
        found["peak_gib"] = {
            name: max(sample.peaks.get(name, 0.0) for sample in samples) for name in peaks
        }
    if reserved := [sample.reserved for sample in samples if sample.reserved is not None]:
        found["reserved_gib"] = max(reserved)
    return found


def printed(findings: Findings) -> str:
    """The table that a person reads."""
    lines: list[str] = []
    for row in findings.rows:
        if "seconds" in row:
            told = row["seconds"]
            lines.append(
                f"{row['name']:<34} {told['median']:10.4f} s   "
                f"{told['min']:.4f} to {told['max']:.4f}{_more(row)}"
            )
        else:
            lines.append(f"{row['name']:<34} {_more(row).strip()}")
        lines += [
            f"    {name:<30} {each['median']:10.4f} s   {each['min']:.4f} to {each['max']:.4f}"
            for name, each in row.get("stages", {}).items()
        ]
    lines += [f"{name:<34} {value:10.3f}" for name, value in findings.ratios.items()]
    lines += [f"note: {note}" for note in findings.notes]
    lines += [f"PROBLEM: {problem}" for problem in findings.problems]
    return "\n".join(lines)


_APART = {"name", "seconds", "each", "stages", "runs", "peak_gib", "mfu_by_stage"}


def _more(row: Mapping[str, Any]) -> str:
    """What else a row says, but for what has lines of its own."""
    return "".join(f"   {key} {_short(value)}" for key, value in row.items() if key not in _APART)


def _short(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with as many digits as a measurement has."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def as_line(card: Mapping[str, Any], findings: Findings) -> str:
    """The one JSON document."""
    kept = {
        "card": dict(card),
        **findings.facts,
        "rows": findings.rows,
        "ratios": findings.ratios,
        "notes": findings.notes,
        "problems": findings.problems,
    }
    return json.dumps(rounded(kept), separators=(",", ":"))


def keep(line: str, device: str, folder: Path = FOLDER) -> Path:
    """Append a result to its device's file."""
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / f"{slug(device)}.jsonl"
    with file.open("a", encoding="utf-8") as target:
        target.write(line + "\n")
    return file


def partial_file(folder: Path, device: str, scenario: str) -> Path:
    """Where what there is so far lies until a run ends; `kept` finds it there if none does."""
    return folder / f"{slug(device)}.{scenario}.partial.jsonl"


def keep_so_far(line: str, file: Path) -> None:
    """Replace what was there by this, at once and whole."""
    file.parent.mkdir(exist_ok=True, parents=True)
    written = file.with_suffix(".part")
    written.write_text(line + "\n", encoding="utf-8")
    written.replace(file)


def kept(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every result there is, oldest first within a device."""
    return [
        json.loads(line)
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
