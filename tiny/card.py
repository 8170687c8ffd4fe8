"""The model card of the embedded checkpoint: `python -m tiny.card` writes it beside the weights.

Everything in it that is a number comes from the files, the report of measures or the records.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from pipelines.checkpoints.headers import read_header
from pipelines.tiny import WEIGHTS
from tiny import captions, records, sizes, world
from tiny.evaluate import report
from tiny.evaluate.report import DamagedReport, Report
from tiny.latents import LARGE
from tiny.records import Record

FILE = "README.md"
RECORDS = Path("docs/training")
# Beginnings of names in a whole model's file, and what they are.
PARTS = {
    "model.diffusion_model.": "transformer, with its connectors",
    "text_embedding_projection.": "projection of the text",
    "vae.": "video VAE",
    "audio_vae.": "audio VAE",
    "vocoder.": "vocoder",
}
HEAD = """---
license: apache-2.0
pipeline_tag: text-to-video
tags: [ltx-2, text-to-video, image-to-video, audio, toy]
---

# LTX-2 tiny

LTX-2's own classes at toy width, trained from nothing on a synthetic world: coloured shapes that
move over patterned grounds and hum. It is for learning, for tests and for a first run on a machine
without a GPU. None of its weights are Lightricks'; its clips say nothing about what LTX-2 makes.
"""
WORLD = """## What it knows

Prompts are of this form, of one thing or of two; whatever is not said is chosen by the seed:

    {example}

| word | one of |
|-|-|
| colour | {colours} |
| shape | {shapes} |
| motion | {motions} |
| size | {sizes} |
| ground | {grounds} |
| pattern | {textures} |
| camera (a LoRA each) | {cameras} |

The colour is the pitch, the place on the screen the side of the sound, the motion its loudness;
"{silence}" makes it silent. After a comma a prompt may say what the camera does: {directions}.
Words that are not here are read letter by letter and mean nothing to it. Clips are {width}x{height}
pixels, 49 frames at 24 a second; longer or larger ones it has hardly seen. {held} of {all}
combinations of colour, shape and motion were left out of all captions that were trained on, and
prompts are measured on these alone. Grounds and patterns are followed loosely and not measured.
"""
USE = """## Use

    ltx2 generate "{example}" --checkpoint tiny --seed 7 -o out.mp4

How it was trained, with pictures, and how to train a LoRA for it: `docs/tiny.md` of the project.
"""
EXAMPLE = "a large red square moving left on a gray checked ground"


class OtherWeights(ValueError):
    """A report that is of other weights than those that the card is for."""


def text(folder: Path, found: Report, trained: Mapping[str, Record]) -> str:
    """The card of the weights in a folder. Raises OtherWeights for a report of others."""
    if found.weights != report.digest(folder):
        raise OtherWeights(
            f"{report.FILE} is of other weights than those in {folder}; measure them with "
            "python -m tiny.evaluate"
        )
    sections = (
        HEAD,
        _world(),
        _measures(found),
        training(trained),
        _files(folder),
        USE.format(example=EXAMPLE),
    )
    return "\n".join(sections)


def _world() -> str:
    height, width = LARGE
    return WORLD.format(
        example=EXAMPLE,
        colours=", ".join(world.COLOURS),
        shapes=", ".join(world.SHAPES),
        motions=", ".join(f'"{ways[0]}"' for ways in captions.MOTIONS.values()),
        sizes=", ".join(world.SIZES),
        grounds=", ".join(world.GROUNDS),
        textures=", ".join(world.TEXTURES),
        cameras=", ".join(world.CAMERAS),
        silence=captions.SILENCE[0].strip(", "),
        directions=", ".join(f'"{said}"' for said in captions.CAMERA.values()),
        width=width,
        height=height,
        held=len(captions.combinations(held=True)),
        all=len(world.COLOURS) * len(world.SHAPES) * len(world.MOTIONS),
    )


def _measures(found: Report) -> str:
    """Every measure with its control, in a table; those that do not hold are said to."""
    rows = [
        f"| {measure.name} | {measure.value:.3g} | {measure.least:.3g} | {measure.control:.3g} "
        f"| {measure.of} | {'yes' if measure.holds else 'no'} |"
        for group in found.groups.values()
        for measure in group.measures
    ]
    return "\n".join(
        (
            "## What it can do",
            "",
            "Measured on its own clips (`make tiny-eval`). A control is what must not do: another",
            "prompt's words, untrained weights, the LoRA left off, plain interpolation. What",
            "upscalers and the detailer are held against went through the video VAE, too.",
            "",
            "| measure | value | at least | control | clips | holds |",
            "|-|-|-|-|-|-|",
            *rows,
            "",
        )
    )


def training(trained: Mapping[str, Record]) -> str:
    """The table of the parts, with the last row of each log."""
    rows = [
        f"| {part.replace('_', ' ')} | {record.steps} | {record.hours:.1f} | {_last(record)} |"
        for part, record in trained.items()
    ]
    hours = sum(record.hours for record in trained.values())
    return "\n".join(
        (
            "## Training",
            "",
            "Each part on its own, by `python -m tiny.train`; recipes, logs and curves are in the",
            f"project's `{RECORDS.as_posix()}/`. Together {hours:.1f} hours of steps.",
            "",
            "| part | steps | hours | at the end |",
            "|-|-|-|-|",
            *rows,
            "",
        )
    )


def _last(record: Record) -> str:
    """The last row of the log, without what the table says already."""
    told = {k: v for k, v in record.last.items() if k not in ("step", "seconds")}
    return ", ".join(f"{name} {value:.3g}" for name, value in told.items())


def _files(folder: Path) -> str:
    """What is in the folder, and how many weights each part has."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(report.WEIGHTS))
    listed = [f"| `{name}` | {(folder / name).stat().st_size / 1e6:.2f} |" for name in files]
    counts = dict.fromkeys(PARTS.values(), 0)
    for name, entry in read_header(folder / str(sizes.FILES.dev)).tensors.items():
        part = next(part for start, part in PARTS.items() if name.startswith(start))
        counts[part] += prod(entry.shape)
    parts = [f"| {part} | {count:,} |" for part, count in counts.items() if count]
    return "\n".join(
        (
            "## Files",
            "",
            "Lightricks' layout and names, bfloat16. Both models hold every part but the text",
            "encoder, a Gemma 3 with random weights: every word is a token of its own, which is",
            "enough to tell words apart.",
            "",
            "| part | weights |",
            "|-|-|",
            *parts,
            "",
            "| file | MB |",
            "|-|-|",
            *listed,
            "",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tiny.card", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the folder of the files")
    parser.add_argument("--records", type=Path, default=RECORDS, help="of the training")
    given = parser.parse_args(arguments)
    try:
        found = report.read(given.weights / report.FILE)
        written = text(given.weights, found, records.read_all(given.records))
    except (OSError, DamagedReport, OtherWeights, records.NotTrained) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    (given.weights / FILE).write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
