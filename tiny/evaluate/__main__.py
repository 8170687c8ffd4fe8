"""The command `python -m tiny.evaluate`: every measure as a line, and all of them as JSON."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from ltx2.engine import Engine
from tiny.evaluate import prompts, sounds, steering, videos
from tiny.evaluate.measures import Measure, line
from tiny.evaluate.studio import EngineStudio, Studio, asked
from tiny.export import export_untrained

CLIPS, SHOTS = 200, 50  # of prompts, and of each camera
PART = 4  # as many clips of a measure that is not about prompts
LEAST = 2  # clips of anything, since every clip has another one as its control

Group = Callable[[Studio, Studio, int, int], list[Measure]]  # trained, untrained, clips, shots


def _prompts(studio: Studio, untrained: Studio, clips: int, _: int) -> list[Measure]:
    return prompts.prompts(studio, untrained, clips)[0]


def _agreement(studio: Studio, _: Studio, clips: int, __: int) -> list[Measure]:
    fast = [studio.make(asked(seed), seed) for seed in range(part(clips))]
    return prompts.agreement(studio, fast)


GROUPS: Mapping[str, Group] = {
    "prompts": _prompts,
    "pro": lambda studio, untrained, clips, _: prompts.prompts(
        studio, untrained, part(clips), mode="pro"
    )[0],
    "agreement": _agreement,
    "seeds": lambda studio, _, clips, __: prompts.seeds(studio, part(clips)),
    "cameras": lambda studio, _, __, shots: steering.cameras(studio, shots),
    "pictures": lambda studio, _, clips, __: steering.pictures(studio, part(clips)),
    "sounds": lambda studio, untrained, clips, _: sounds.sounds(studio, untrained, part(clips)),
    "detailer": lambda studio, _, clips, __: videos.detailer(studio, part(part(clips))),
    "spatial": lambda studio, _, clips, __: videos.spatial(studio, part(part(clips))),
    "temporal": lambda studio, _, clips, __: videos.temporal(studio, part(part(clips))),
}


def part(clips: int) -> int:
    """How many clips a measure gets that needs fewer."""
    return max(LEAST, clips // PART)


def measured(
    names: list[str], studio: Studio, untrained: Studio, *, clips: int, shots: int
) -> Iterator[Measure]:
    """The measures of some of `GROUPS`, one by one."""
    for name in names:
        yield from GROUPS[name](studio, untrained, clips, shots)


def main() -> None:
    """The command: it fails where a measure does not hold."""
    parser = argparse.ArgumentParser(description="What the embedded checkpoint can do, measured.")
    parser.add_argument("--checkpoint", default="tiny", help="a folder of the same layout")
    parser.add_argument("--clips", type=number, default=CLIPS, help=f"of prompts; {CLIPS}")
    parser.add_argument("--shots", type=number, default=SHOTS, help=f"of each camera; {SHOTS}")
    parser.add_argument("--only", choices=list(GROUPS), action="append")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        untrained = Path(folder) / "untrained"
        export_untrained(untrained)
        studios = [EngineStudio(Engine.load(name)) for name in (given.checkpoint, str(untrained))]
        names = given.only or list(GROUPS)
        found = []
        for measure in measured(names, *studios, clips=given.clips, shots=given.shots):
            found.append(measure)
            sys.stdout.write(line(measure) + "\n")
            sys.stdout.flush()
    if given.json:
        rows = [{**asdict(measure), "holds": measure.holds} for measure in found]
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(not all(measure.holds for measure in found))


def number(text: str) -> int:
    """A number of clips. ArgumentTypeError for fewer than `LEAST`."""
    if not text.isdigit() or int(text) < LEAST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of clips from {LEAST} on")
    return int(text)


if __name__ == "__main__":
    main()
