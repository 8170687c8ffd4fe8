"""What each part's training leaves to read, kept with the code: its recipe, log and curve."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiny import (
    audio,
    cameras,
    curves,
    detailer,
    distilled,
    sizes,
    transformer,
    upscalers,
    video_vae,
    world,
)
from tiny.loop import STATE, Recipe

RECIPE, LOG, CURVE = "recipe.json", "log.jsonl", "curve.png"


class NotTrained(ValueError):
    """Parts without weights or without a log; its text names all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """How a part was trained, and what its log says at the end."""

    recipe: Mapping[str, Any]
    last: Mapping[str, float]

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return round(self.last["step"])

    @property
    def hours(self) -> float:
        """Of training, without evaluations."""
        return self.last["seconds"] / 3600


def recipes() -> dict[str, Recipe]:
    """The recipe of every part, by the name of its folder, in the order of training."""
    return {
        "video_vae": video_vae.RECIPE,
        "audio_vae": audio.VAE,
        "vocoder": audio.VOCODER,
        **dict.fromkeys(sizes.UPSCALERS, upscalers.RECIPE),
        "transformer": transformer.RECIPE,
        **{f"camera_{move}": cameras.recipe(move) for move in world.CAMERAS},
        "distilled": distilled.RECIPE,
        "detailer": detailer.RECIPE,
    }


def require(folder: Path) -> None:
    """Raise NotTrained unless every part in `folder` has weights and a log."""
    missing = [
        f"{part}/{file}"
        for part in recipes()
        for file in (STATE, LOG)
        if not (folder / part / file).is_file()
    ]
    if missing:
        raise NotTrained(f"{folder} misses {', '.join(missing)}; train with python -m tiny.train")


def keep(folder: Path, to: Path) -> None:
    """Write the records of every part in `folder` into `to`, in place of those that were there."""
    require(folder)
    for part, recipe in recipes().items():
        record = to / part
        shutil.rmtree(record, ignore_errors=True)
        record.mkdir(parents=True)
        text = json.dumps(asdict(recipe), indent=1)
        (record / RECIPE).write_text(text + "\n", encoding="utf-8")
        rows = curves.rows(folder / part / LOG)
        log = "".join(json.dumps(row) + "\n" for row in rows)
        (record / LOG).write_text(log, encoding="utf-8")
        curves.draw(part, rows).save(record / CURVE, optimize=True)


def read_all(folder: Path) -> dict[str, Record]:
    """The same of every part. Raises NotTrained where some are not there."""
    found = read(folder)
    missing = [part for part in recipes() if part not in found]
    if missing:
        raise NotTrained(
            f"{folder} has no record of {', '.join(missing)}; python -m tiny.export writes them"
            " with --records"
        )
    return found


def read(folder: Path) -> dict[str, Record]:
    """The records that `keep` wrote, by part, in the order of training."""
    found = {}
    for part in recipes():
        path = folder / part
        if path.is_dir():
            recipe = json.loads((path / RECIPE).read_text(encoding="utf-8"))
            found[part] = Record(recipe=recipe, last=curves.rows(path / LOG)[-1])
    return found
