"""Which scaling settings an endpoint should have: a trace of requests under each of them.

`python -m benchmarks.autoscale CONFIG.toml [--seed N] [--picture FILE.svg]`. What a configuration
holds is in docs/scaling.md; without one, `benchmarks/scaling/example.toml` is taken.
"""

import argparse
import json
import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scaling import arrivals
from benchmarks.scaling.report import Prices, picture, row, table
from benchmarks.scaling.rules import Rules
from benchmarks.scaling.simulate import Outcome, simulate
from benchmarks.scaling.times import Times

EXAMPLE = Path(__file__).parent / "scaling" / "example.toml"
TABLES = {"service", "cold", "flash", "prices", "arrivals", "rules"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that a configuration decides."""

    trace: list[float]
    service: Times
    cold: Times
    flash: Times
    prices: Prices
    rules: list[Rules]

    @classmethod
    def read(cls, path: Path, seed: int) -> "Study":
        """From a TOML file. Raises ValueError with what is wrong."""
        data: dict[str, Any] = tomllib.loads(path.read_text())
        if set(data) != TABLES:
            absent, unknown = sorted(TABLES - set(data)), sorted(set(data) - TABLES)
            raise ValueError(
                f"{path}: missing tables: {', '.join(absent) or 'none'}; "
                f"unknown ones: {', '.join(unknown) or 'none'}"
            )
        trace = arrivals.read(data["arrivals"], random.Random(f"arrivals {seed}"), path.parent)
        if not trace:
            raise ValueError("[arrivals] gives no request; take more hours or a higher rate")
        return cls(
            trace=trace,
            service=_times(data["service"], "service", path.parent),
            cold=_times(data["cold"], "cold", path.parent),
            flash=_times(data["flash"], "flash", path.parent),
            prices=Prices(**data["prices"]),
            rules=[Rules.read(each) for each in data["rules"]],
        )

    def outcomes(self, seed: int) -> list[Outcome]:
        """What comes of the trace under each of the rules."""
        return [
            simulate(self.trace, rules, self.service, self.cold, self.flash, seed)
            for rules in self.rules
        ]


def _times(data: dict[str, Any], name: str, folder: Path) -> Times:
    """Seconds as they stand there, or those that rows of a results file measured.

    `results` is a file as `benchmarks/results` has them, `field` the way to the seconds in a row,
    with dots; `where` are values that a row, or by `card.NAME` the card of its line, must have to
    count.
    """
    if "results" not in data:
        return Times.read(data, name)
    path, where = folder / data["results"], data.get("where", {})
    if not path.is_file():
        raise ValueError(
            f"[{name}] results: there is no file {path}; a path is read from the study's folder"
        )
    unknown = set(data) - {"results", "field", "where"}
    if unknown or "field" not in data:
        raise ValueError(
            f"[{name}] takes results with field and, if you like, where; got {sorted(data)}"
        )
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    rows = [{**row, "card": line["card"]} for line in lines for row in line.get("rows", [])]
    found = [
        _at(each, data["field"])
        for each in rows
        if all(_at(each, key) == value for key, value in where.items())
    ]
    samples = [n for value in found for n in (value if isinstance(value, list) else [value])]
    if not samples or any(not isinstance(n, int | float) for n in samples):
        raise ValueError(f"[{name}] {path}: no row like {where} has seconds at {data['field']!r}")
    return Times.read({"samples": samples}, name)


def _at(document: Any, way: str) -> Any:  # noqa: ANN401 - any JSON
    for step in way.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document


def main(argv: list[str] | None = None) -> int:
    """Print the table, then one JSON document on the last line; exit 2 for a wrong file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale")
    parser.add_argument(
        "config", type=Path, nargs="?", default=EXAMPLE, help="a study; default the example"
    )
    parser.add_argument("--seed", type=int, default=0, help="of arrivals and times; default 0")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the workers there")
    arguments = parser.parse_args(argv)
    try:
        study = Study.read(arguments.config, arguments.seed)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    outcomes = study.outcomes(arguments.seed)
    rows = [row(outcome, study.prices) for outcome in outcomes]
    print(
        f"{len(study.trace)} requests in {study.trace[-1] / 3600:.1f} h, "
        f"{study.service.mean:.1f} s of work each, cold start {study.cold.mean:.1f} s\n"
    )
    print(table(rows) + "\n")
    if arguments.picture:
        arguments.picture.write_text(picture(outcomes))
        print(f"picture: {arguments.picture}\n")
    print(json.dumps({"seed": arguments.seed, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
