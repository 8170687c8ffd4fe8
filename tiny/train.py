"""Train a part of the embedded checkpoint: `python -m tiny.train PART`.

Parts in their order: video-vae, audio-vae, vocoder, latents, the three upscalers,
transformer, distilled, seven cameras, detailer. `all` trains whatever is not trained yet;
a part that was interrupted goes on.
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
from tiny.parallel import add_options, processes_of, run
from tiny.world import CAMERAS

# Shards of each kind of clip.
SHARDS = {
    "small": 48,
    "pair": 10,
    "long": 4,
    "half_again": 4,
    **dict.fromkeys(CAMERAS, 5),
    "worn": 4,
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
    found["distilled"] = (distilled.train, {})
    for move in CAMERAS:
        found[f"camera-{move.replace('_', '-')}"] = (cameras.train, {"move": move})
    found["detailer"] = (detailer.train, {})
    return found


def main() -> None:
    names = list(_trainers())
    names.insert(names.index("vocoder") + 1, "latents")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("part", choices=[*names, "all"])
    parser.add_argument("--folder", type=Path, default=Path("runs/tiny"), help="where all is kept")
    add_options(parser)
    parser.add_argument(
        "--compile", action="store_true", help="compile the transformer: needs a C++ compiler"
    )
    given = parser.parse_args()
    torch.set_default_device(given.device)
    processes = processes_of(given)
    given.folder.mkdir(parents=True, exist_ok=True)
    trainers = _trainers(compiled=given.compile)
    for name in names if given.part == "all" else [given.part]:
        if name == "latents":
            latents.make(given.folder, SHARDS, processes=processes)
        else:
            train, options = trainers[name]
            run(train, given.folder, processes, **options)


if __name__ == "__main__":
    main()
