"""One benchmark: `python -m benchmarks.run SCENARIO`, or `make bench SCENARIO=...`.

Prints a card, what it does, a table, and one JSON document last, which is appended to the file of
the device under `benchmarks/results/`. What there is so far is kept beside it after each turn: a
run that is cut off or fails leaves it there, marked as partial. Exits with 1 where a scenario found
something wrong, and with 2 where it cannot be measured here or was asked for what is not there.
`SCENARIO --help` tells its options.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.bench import Bench, Unmeasurable
from benchmarks.card import machine
from benchmarks.results import FOLDER, as_line, keep, printed
from benchmarks.scenarios import SCENARIOS
from ltx2.errors import BadRequest, ConfigError


def main(given: Sequence[str] | None = None) -> int:
    """Measure one scenario; the exit status."""
    given = sys.argv[1:] if given is None else list(given)
    if not given or given[0] in ("-h", "--help"):
        print(__doc__)
        for name, row in SCENARIOS.items():
            print(f"  {name:<24} {row.says}")
        return 0 if given else 2
    if given[0] not in SCENARIOS:
        print(f"{given[0]!r} is no scenario; there is {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    scenario = SCENARIOS[given[0]]
    module = import_module(f"benchmarks.scenarios.{scenario.module}")
    arguments = _parser(scenario.name, module).parse_args(given[1:])
    for name, value in scenario.request.items():
        setattr(arguments, name, value)
    scratch = Path(tempfile.mkdtemp(prefix="ltx2-bench-"))
    bench = Bench(arguments=arguments, scratch=scratch)
    try:
        card = {"scenario": scenario.name, **machine(bench.device)}
        card |= module.card(bench) if hasattr(module, "card") else bench.weights_card()
        bench.card = card
        print(*(f"{name:<14} {value}" for name, value in card.items()), sep="\n")
        print(flush=True)
        findings = module.measure(bench)
    except (Unmeasurable, BadRequest, ConfigError) as reason:
        print(f"{scenario.name} is not measured: {reason}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print()
    print(printed(findings))
    line = as_line(card, findings)
    if not arguments.no_keep and not findings.problems:
        print(f"kept in {keep(line, card['device'], arguments.results).name}")
        bench.partial.unlink(missing_ok=True)
    elif findings.rows:
        bench.save()
    print(line)
    return 1 if findings.problems else 0


def _parser(name: str, module: object) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.run {name}")
    parser.add_argument(
        "--weights", default="tiny", help="tiny, a folder or file, or random: drawn on the device"
    )
    parser.add_argument(
        "--checkpoint", default="ltx-2.3", help="whose architecture random weights have"
    )
    parser.add_argument("--device", help="default the GPU where there is one")
    parser.add_argument("--runs", type=int, default=3, help="of each, after a warm-up; default 3")
    parser.add_argument(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="no run begins later, but one of each that is warm; the notes tell what was left out",
    )
    parser.add_argument("--no-keep", action="store_true", help="leave the results' file alone")
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder of such files")
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)  # type: ignore[attr-defined] - just asked
    return parser


if __name__ == "__main__":
    sys.exit(main())
