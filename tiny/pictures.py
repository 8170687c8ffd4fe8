"""The pictures of the pages, made with the embedded checkpoint: `python -m tiny.pictures`.

Prompts and seeds are fixed, so each picture is what the commands on its page make.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import ltx2
from ltx2.engine import Engine
from tiny import curves, records, world
from tiny.card import RECORDS
from tiny.evaluate.studio import EngineStudio, asked, filmed
from tiny.evaluate.videos import (
    FRAMES,
    SOFTENED,
    as_steep,
    larger,
    repeated,
    soft,
)
from tiny.latents import LARGE, SMALL
from tiny.layout import EVERY, Frames, animated, grid, save, strips
from tiny.measure import sharpness

FOLDER = Path("docs/images/tiny")
SEED = 7
# Each shape once, no two of one colour, motion or ground.
START = (
    "a large red square moving left on a gray checked ground",
    "a large yellow ring rising on a navy striped ground",
    "a large blue triangle moving right on a brown dotted ground",
    "a purple circle growing on a teal checked ground",
)
STILL = "a large red square standing still on a gray checked ground"
WORDS = (
    "a large red square moving left on a gray checked ground",
    "a large blue square moving left on a gray checked ground",
    "a large red ring moving left on a gray checked ground",
    "a large red square falling on a gray checked ground",
    "a small red square moving left on a gray checked ground",
    "a large red square moving left on a brown dotted ground",
)
SCENE = 17  # seed of the world's clip that detailer and upscalers are shown on
SIDE = 240, 144  # of a clip beside others, width and height
CLOSE = 96, 160  # height and width of the part that is shown of a clip to compare sharpness
FEW = 5  # frames of a strip


@dataclass(frozen=True, slots=True)
class Scenery:
    """What pictures are made with: a checkpoint, options for all of its clips, the records."""

    engine: Engine
    options: Mapping[str, Any]
    records: Path

    @property
    def studio(self) -> EngineStudio:
        """The same checkpoint, for videos that exist."""
        return EngineStudio(self.engine)

    def clip(self, prompt: str, **options: Any) -> Frames:  # noqa: ANN401
        """The frames of a prompt; `options` are further fields of `ltx2.Request`."""
        fields = {"prompt": prompt, "seed": SEED, **self.options, **options}
        return self.engine.generate(ltx2.Request.parse(fields, paths=True)).frames


def start(scenery: Scenery, path: Path) -> None:
    """Four prompts: the first picture of the README."""
    clips = {prompt.partition(" on ")[0]: scenery.clip(prompt) for prompt in START}
    animated(path, clips, columns=2, size=(320, 192), every=EVERY)


def cameras(scenery: Scenery, path: Path) -> None:
    """One prompt and seed by a hand and by all seven camera LoRAs."""
    clips = {"none": scenery.clip(STILL)}
    clips |= {move: scenery.clip(STILL, camera_motion=move) for move in world.CAMERAS}
    animated(path, clips, columns=4, size=(200, 120), every=EVERY)


def prompts(scenery: Scenery, path: Path) -> None:
    """One seed, one word changed at a time."""
    clips = {prompt.removeprefix("a "): scenery.clip(prompt) for prompt in WORDS}
    animated(path, clips, columns=2, size=(320, 192), every=EVERY)


def modes(scenery: Scenery, path: Path) -> None:
    """Fast and Pro beside each other, two seeds of each."""
    clips = {
        f"{mode}, seed {seed}": scenery.clip(START[0], mode=mode, seed=seed)
        for mode in ("fast", "pro")
        for seed in (SEED, SEED + 1)
    }
    animated(path, clips, columns=2, size=(320, 192), every=EVERY)


def picture(scenery: Scenery, path: Path) -> None:
    """A picture and what becomes of it, next to the same prompt without one."""
    found = asked(SCENE)
    given = filmed(found, SCENE, LARGE, frames=1)[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "given.png"
        Image.fromarray(given).save(file)
        made = scenery.clip(found.text, image=str(file))
    plain = scenery.clip(found.text)
    shown = np.linspace(0, len(made) - 1, FEW).round().astype(int)
    clips = {
        "the picture that is given, and the clip that begins with it": [given, *made[shown]],
        "the same prompt without it": [np.full_like(given, 255), *plain[shown]],
    }
    strips(path, clips, size=SIDE)


def detailer(scenery: Scenery, path: Path) -> None:
    """A soft clip, an unsharp mask, the detailer, and the clip that was softened."""
    sharp = _world(LARGE)
    given = soft(sharp, SOFTENED)
    made = scenery.studio.restored(given, task="detail", seed=SEED)
    masked = as_steep(scenery.studio.through(given), sharpness.steepness(made))
    clips = {"soft": given, "unsharp mask": masked, "detailer": made, "as it was": sharp}
    animated(path, {k: _close(v) for k, v in clips.items()}, columns=2, size=(320, 192), every=4)


def spatial(scenery: Scenery, path: Path) -> None:
    """A small clip twice as large: bicubic, the upscaler, and the truth."""
    small, large = _world(SMALL), _world(LARGE)
    made = scenery.studio.restored(small, task="upscale", refine=False, seed=SEED)
    plain = larger(scenery.studio.through(small), 2)
    clips = {"bicubic": plain, "upscaler": made, "filmed large": large}
    animated(path, {k: _close(v) for k, v in clips.items()}, columns=3, size=(320, 192), every=4)


def temporal(scenery: Scenery, path: Path) -> None:
    """Consecutive frames at twice the rate: repeated, by the upscaler, and the truth."""
    found = asked(SCENE, motions=("bouncing",))
    fast = filmed(found, SCENE, SMALL, frames=2 * FRAMES - 1)
    slow = fast[::2]
    made = scenery.studio.restored(
        slow, task="upscale", spatial=1.0, temporal=True, refine=False, seed=SEED
    )
    given = scenery.studio.through(slow)
    clips = {"every frame twice": repeated(given), "upscaler": made, "filmed fast": fast}
    strips(path, {name: frames[10 : 10 + FEW] for name, frames in clips.items()}, size=SIDE)


def training(scenery: Scenery, path: Path) -> None:
    """The curves of every part."""
    trained = records.read(scenery.records)
    drawn = {
        part.replace("_", " "): curves.draw(part, curves.rows(scenery.records / part / records.LOG))
        for part in trained
    }
    save(path, [grid(drawn, 3)])


def _world(size: tuple[int, int]) -> Frames:
    """The true clip that is worked on, of height and width `size`."""
    return filmed(asked(SCENE), SCENE, size, frames=25)


def _close(frames: Frames) -> NDArray[np.uint8]:
    """The middle of a clip."""
    height, width = CLOSE
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


PICTURES: Mapping[str, Callable[[Scenery, Path], None]] = {
    "start": start,
    "cameras": cameras,
    "prompts": prompts,
    "modes": modes,
    "picture": picture,
    "detailer": detailer,
    "spatial": spatial,
    "temporal": temporal,
    "training": training,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tiny.pictures", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--only", choices=list(PICTURES), action="append")
    parser.add_argument("--checkpoint", default="tiny", help="a folder of the same layout")
    parser.add_argument("--records", type=Path, default=RECORDS, help="of the training")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the pictures")
    given = parser.parse_args(arguments)
    given.to.mkdir(parents=True, exist_ok=True)
    scenery = Scenery(
        engine=Engine.load(given.checkpoint, mode="all"), options={}, records=given.records
    )
    for name in given.only or PICTURES:
        path = given.to / f"{name}.webp"
        PICTURES[name](scenery, path)
        sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
