"""Measures of what steers a clip beside its prompt: a camera's LoRA and a first picture."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tiny import world
from tiny.captions import Captioned
from tiny.evaluate.measures import Measure, share
from tiny.evaluate.studio import EARLY, Frames, Made, Studio, asked, filmed
from tiny.latents import LARGE
from tiny.measure import camera, sharpness

# How many moves, and how many static clips, are to be right in each mode. The eight steps of Fast
# blunt a zoom now and then.
LEAST = {"fast": (0.80, 0.85), "pro": (0.90, 0.95)}


def cameras(studio: Studio, shots: int, *, mode: str = "fast") -> list[Measure]:
    """`judge_cameras` of clips of each move and of none, from the same prompts and seeds."""
    wanted = [at_rest(seed) for seed in range(shots)]

    def seen(**options: Any) -> list[str | None]:  # noqa: ANN401 - fields of the request
        clips = (studio.make(each, s, mode=mode, **options) for s, each in enumerate(wanted))
        return [move_of(made) for made in clips]

    moved = {move: seen(camera_motion=move) for move in world.CAMERAS}
    return judge_cameras(moved, seen(), mode=mode)


def at_rest(seed: int) -> Captioned:
    """A prompt in which nothing but the camera can move."""
    return asked(seed, held=False, textured=True, motions=("still",))


def move_of(made: Made) -> str | None:
    """The move that is seen in a clip of a scene at rest."""
    return camera.at_rest(made.seen.camera, made.seen.thing).name


def judge_cameras(
    moved: Mapping[str, Sequence[str | None]], plain: Sequence[str | None], *, mode: str = "fast"
) -> list[Measure]:
    """Each camera LoRA's move, by the moves that were read from its clips, with their sign. The
    control are `plain` clips, made without a LoRA. A hand that shakes little is now and then as
    good as none, so `static` has the clips of the other LoRAs as a second one.
    """

    def measure(move: str, name: str, others: Sequence[str | None], most: float) -> Measure:
        read = moved[move]
        return Measure(
            name=f"{name} ({mode})",
            value=share([each == move for each in read]),
            least=LEAST[mode][move == "static"],
            control=share([each == move for each in others]),
            most=most,
            of=len(read),
        )

    measures = [
        measure(move, f"camera {move}", plain, 0.5 if move == "static" else 0.2) for move in moved
    ]
    others = [each for move, read in moved.items() if move != "static" for each in read]
    if "static" in moved and others:
        measures.append(measure("static", "camera static, not another LoRA's", others, 0.2))
    return measures


def pictures(studio: Studio, clips: int) -> list[Measure]:
    """`judge_pictures` of clips that begin with a true picture of the prompt's scene."""
    true, made, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(clips):
            found = asked(seed)
            film = filmed(found, seed, LARGE)[: EARLY + 1]
            path = Path(folder) / f"{seed}.png"
            Image.fromarray(film[0]).save(path)
            true.append(film)
            made.append(studio.make(found, seed, image=str(path)))
            plain.append(studio.make(found, seed))
    return judge_pictures(true, made, plain)


def judge_pictures(
    true: Sequence[Frames], made: Sequence[Made], plain: Sequence[Made]
) -> list[Measure]:
    """How like the given pictures the first frames are, in decibels; and how like the clips that
    they are from, (EARLY + 1, height, width, 3), the clips are a moment later, since a first frame
    is held whatever the model does. The control is `plain` clips, of the same prompts and seeds
    without a picture.
    """
    given, later = [film[0] for film in true], [film[EARLY] for film in true]
    went = _likeness(later, [each.early for each in made])
    return [
        Measure(
            name="first frame of a picture (dB)",
            value=_likeness(given, [each.first for each in made]),
            least=25.0,
            control=_likeness(given, [each.first for each in plain]),
            most=20.0,
            of=len(made),
        ),
        Measure(
            name="a clip goes on from its picture (dB)",
            value=went,
            least=16.0,
            control=_likeness(later, [each.early for each in plain]),
            most=went - 3.0,
            of=len(made),
        ),
    ]


def _likeness(given: Sequence[np.ndarray], made: Sequence[np.ndarray]) -> float:
    pairs = zip(given, made, strict=True)
    # The same picture has no finite likeness.
    return float(np.mean([min(99.0, sharpness.psnr(one, other)) for one, other in pairs]))
