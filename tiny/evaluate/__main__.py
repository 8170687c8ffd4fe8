"""The command `python -m tiny.evaluate`: every measure as a line, and all of them in the report."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ltx2.engine import Engine
from tiny.evaluate import prompts, report, sounds, steering, videos
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
    "cameras-pro": lambda studio, _, __, shots: steering.cameras(studio, shots, mode="pro"),
    "pictures": lambda studio, _, clips, __: steering.pictures(studio, part(clips)),
    "sounds": lambda studio, untrained, clips, _: sounds.sounds(studio, untrained, part(clips)),
    "detailer": lambda studio, _, clips, __: videos.detailer(studio, part(part(clips))),
    "spatial": lambda studio, _, clips, __: videos.spatial(studio, part(part(clips))),
    "temporal": lambda studio, _, clips, __: videos.temporal(studio, part(part(clips))),
}


def part(clips: int) -> int:
    """How many clips a measure gets that needs fewer."""
    return max(LEAST, clips // PART)


def counted(name: str, clips: int, shots: int) -> int:
    """Of how many clips a group is, by which it is compared with the same group of another run."""
    return shots if name.startswith("cameras") else clips


def keep(path: Path, weights: str, name: str, clips: int, measures: list[Measure]) -> bool:
    """Put a group's measures into the report; False where it has some from more clips.

    The report is read again each time: other processes may measure other groups meanwhile.
    """
    with report.alone(path):
        known = report.begun(path, weights)
        changed = known.with_group(name, clips, measures)
        if changed is known:
            return False
        report.write(path, changed)
        return True


def main() -> None:
    """The command: it fails where a measure does not hold."""
    parser = argparse.ArgumentParser(description="What the embedded checkpoint can do, measured.")
    parser.add_argument("--checkpoint", default="tiny", help="a folder of the same layout")
    parser.add_argument("--clips", type=number, default=CLIPS, help=f"of prompts; {CLIPS}")
    parser.add_argument("--shots", type=number, default=SHOTS, help=f"of each camera; {SHOTS}")
    parser.add_argument("--only", choices=list(GROUPS), action="append")
    parser.add_argument("--report", type=Path, help=f"{report.FILE} beside the weights")
    given = parser.parse_args()
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        untrained = Path(folder) / "untrained"
        export_untrained(untrained)
        studios = [EngineStudio(Engine.load(name)) for name in (given.checkpoint, str(untrained))]
        root = studios[0].engine.components.weights.root
        path, weights = given.report or root / report.FILE, report.digest(root)
        for name in given.only or list(GROUPS):
            measures = GROUPS[name](*studios, given.clips, given.shots)
            sys.stdout.write("".join(f"{line(measure)}\n" for measure in measures))
            if not keep(path, weights, name, counted(name, given.clips, given.shots), measures):
                sys.stdout.write(f"{path} keeps its measures of {name}: they are of more clips\n")
            sys.stdout.flush()
            holds &= all(measure.holds for measure in measures)
    sys.exit(not holds)


def number(text: str) -> int:
    """A number of clips. ArgumentTypeError for fewer than `LEAST`."""
    if not text.isdigit() or int(text) < LEAST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of clips from {LEAST} on")
    return int(text)


if __name__ == "__main__":
    main()
