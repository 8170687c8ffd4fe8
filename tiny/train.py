"""Train a part of the embedded checkpoint: `python -m tiny.train PART`.

A part needs some of those before it. One that was interrupted goes on where it was, one that is
trained is left as it is.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from tiny import (
    audio,
    cameras,
    detailer,
    distilled,
    latents,
    sizes,
    transformer,
    upscalers,
    video_vae,
)
from tiny.parallel import add_options, processes_of, refusal, run
from tiny.world import CAMERAS

# Shards of each kind of clip.
SHARDS = {
    "small": 48,
    "pair": 14,
    "long": 12,
    "half_again": 4,
    **dict.fromkeys(CAMERAS, 5),
    "worn": 8,
}


def _trainers(
    *, compiled: bool = False
) -> dict[str, tuple[Callable[..., object], dict[str, object]]]:
    found: dict[str, tuple[Callable[..., object], dict[str, object]]] = {
        "video-vae": (video_vae.train, {}),
        "audio-vae": (audio.train_vae, {}),
        "vocoder": (audio.train_vocoder, {}),
    }
    for name in sizes.UPSCALERS:
        found[name.replace("_", "-")] = (upscalers.train, {"name": name})
    found["transformer"] = (transformer.train, {"compiled": compiled})
    for move in CAMERAS:
        found[f"camera-{move.replace('_', '-')}"] = (cameras.train, {"move": move})
    found["distilled"] = (distilled.train, {})
    found["detailer"] = (detailer.train, {})
    return found


def parts() -> list[str]:
    """Every part by the name that the command takes, in the order of training."""
    names = list(_trainers())
    names.insert(names.index("vocoder") + 1, "latents")
    return names


def parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(
        prog="python -m tiny.train", description=(__doc__ or "").partition("\n\n")[2]
    )
    wanted.add_argument(
        "part",
        metavar="PART",
        choices=[*parts(), "all"],
        help=f"in their order: {', '.join(parts())}; or all of them",
    )
    wanted.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/tiny"),
        help="of weights, clips, logs and curves (%(default)s)",
    )
    add_options(wanted)
    wanted.add_argument(
        "--compile",
        action="store_true",
        help="compile the transformer: a third faster after some minutes, needs a C++ compiler",
    )
    return wanted


def main() -> None:
    asked = parser()
    given = asked.parse_args()
    if (problem := refusal(given)) is not None:
        asked.error(problem)
    torch.set_default_device(given.device)
    processes = processes_of(given)
    given.folder.mkdir(parents=True, exist_ok=True)
    trainers = _trainers(compiled=given.compile)
    for name in parts() if given.part == "all" else [given.part]:
        if name == "latents":
            latents.make(given.folder, SHARDS, processes=processes)
        else:
            train, options = trainers[name]
            run(train, given.folder, processes, **options)


if __name__ == "__main__":
    main()
