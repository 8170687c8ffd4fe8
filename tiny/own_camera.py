"""Train a camera LoRA of your own: `python -m tiny.own_camera diagonal`, in minutes.

Scenes of the synthetic world are filmed with the move and encoded, a LoRA of the dev model learns
them, and a clip is made with it and without it. Both models take it: training on the distilled one
would also unlearn its few steps, since these are not what the clips teach.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import ltx2
from ltx2.lora_sources import sha256_of
from ltx2.settings import Settings
from pipelines.checkpoints.headers import CheckpointError
from tiny import adapters, cameras, latents, preview, shipped
from tiny.export import save_lora
from tiny.loop import Recipe, load_average
from tiny.measure.share import made, made_at_rest
from tiny.moves import GRAMMAR, PRESETS, Move, MoveError
from tiny.parallel import add_options, processes_of, refusal, run
from tiny.pool import spread
from tiny.sizes import LORA_RANKS
from tiny.transformer import Captions, Clips

CLIPS, STEPS = 384, 120
BATCH = 32  # clips of a step
FILES = 8  # that the clips are kept in; the first is for evaluation
AT_REST = "standing still"  # a prompt with these words has nothing move but the camera
PROMPT = f"a large red square {AT_REST} on a gray checked ground"
SEED = 7
PART = "training"  # what the folder of weights, log and curve is called
KIND = "own"  # what the files of clips are called
BEGUN = "begun.json"


class Refused(ValueError):
    """What was asked for cannot be done; its text says what can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What to train, on what, and how long."""

    name: str
    move: Move
    checkpoint: str
    clips: int = CLIPS
    steps: int = STEPS
    batch: int = BATCH

    def __post_init__(self) -> None:
        problems = []
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", self.name):
            problems.append(f"{self.name!r} is no name: small letters, digits, _ and -")
        if self.clips < 2:
            problems.append(f"{self.clips} clips are too few: 2 or more, one is for evaluation")
        if self.steps < 1:
            problems.append(f"{self.steps} steps are too few: 1 or more")
        if self.batch < 1:
            problems.append(f"{self.batch} clips in a batch are too few: 1 or more")
        if problems:
            raise Refused("; ".join(problems))

    @property
    def recipe(self) -> Recipe:
        """That of the checkpoint's own camera LoRAs, in fewer steps."""
        often = max(1, self.steps // 4)
        return replace(
            cameras.RECIPE,
            steps=self.steps,
            warm_up=min(cameras.RECIPE.warm_up, often),
            evaluate=often,
            save=max(1, often // 2),
        )


def make(task: Task, folder: Path, *, processes: int, settings: Settings) -> Path:
    """The LoRA of the task, in `folder` with all that led to it; what is there is not made again.

    Raises Refused where the folder was begun for another task, and what `shipped.weights_of` does.
    """
    weights = shipped.weights_of(task.checkpoint, settings)
    folder.mkdir(parents=True, exist_ok=True)
    _begin(folder, task, sha256_of(weights.files("transformer", "dev")[0]))
    file = folder / f"{task.name}.safetensors"
    if not file.exists():
        film(folder, task, processes, settings)
        run(train, folder, min(processes, task.batch), task=task, settings=settings)
        working = file.with_suffix(".new")
        save_lora(working, learnt(folder, task, settings), {})
        working.replace(file)
    return file


def _begin(folder: Path, task: Task, weights: str) -> None:
    """Note what the folder is for. Raises Refused where that is something else."""
    wanted = {
        "move": str(task.move),
        "clips": task.clips,
        "steps": task.steps,
        "batch": task.batch,
        "weights": weights,
    }
    path = folder / BEGUN
    if not path.exists():
        path.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    others = [f"{name} {begun.get(name)}" for name in wanted if begun.get(name) != wanted[name]]
    if others:
        raise Refused(
            f"{folder} was begun with {', '.join(others)}; take another --name, or remove it"
        )


def film(folder: Path, task: Task, processes: int, settings: Settings) -> None:
    """Film and encode the task's clips, where they are not there yet."""
    (folder / "latents").mkdir(exist_ok=True)
    files = min(FILES, task.clips)
    places = [(index, (task.clips + index) // files) for index in range(files)]
    spread(partial(_maker, task, settings), folder, places, processes)


def _maker(task: Task, settings: Settings, folder: Path) -> Callable[[int, int], Path]:
    weights = shipped.weights_of(task.checkpoint, settings)
    vae, audio_vae = shipped.part(weights, "vae"), shipped.part(weights, "audio_vae")
    vae = vae.to(memory_format=torch.channels_last_3d)
    kind = latents.Kind(moves=(task.move,), textured=True)

    def shoot(index: int, clips: int) -> Path:
        path = folder / "latents" / f"{KIND}-{index:04d}.pt"
        draw = random.Random(f"{task.move} {index}")
        return latents.write_shard(path, kind, draw, clips, vae, audio_vae)

    return shoot


def train(folder: Path, *, task: Task, settings: Settings) -> None:
    """Train the LoRA; a run that was cut goes on."""
    weights = shipped.weights_of(task.checkpoint, settings)
    captions = Captions(shipped.text_encoder(weights))
    clips = Clips(folder / "latents", (KIND,)).split()
    model = shipped.generator(weights)
    cameras.learn(model, captions, clips, KIND, PART, folder, recipe=task.recipe, count=task.batch)


def learnt(folder: Path, task: Task, settings: Settings) -> dict[str, torch.Tensor]:
    """The tensors of the LoRA that was trained, by Lightricks' names."""
    weights = shipped.weights_of(task.checkpoint, settings)
    model = shipped.generator(weights)
    adapters.add(model.transformer, LORA_RANKS["camera"], everything=False, seed=0)
    load_average(model, folder / PART)
    return adapters.tensors(model.transformer)


def show(task: Task, file: Path, settings: Settings, **wanted: Any) -> str:  # noqa: ANN401
    """Make a clip without the LoRA and with it, write both beside the file, and say what is seen.

    `wanted` are fields of `ltx2.Request`.
    """
    engine = ltx2.Engine.load(task.checkpoint, settings=settings)
    clips = {
        title: engine.generate(ltx2.Request.parse({**wanted, "loras": loras}, paths=True)).frames
        for title, loras in (("without", []), (f"with {task.name}", [{"source": str(file)}]))
    }
    animation, sheet = preview.write(file.with_name("preview"), clips)
    told = made_at_rest if AT_REST in wanted["prompt"] else made
    seen = [
        f"  {title}: {'the move cannot be told' if share is None else f'{share:.0%} of the move'}"
        for title, share in ((name, told(frames, task.move)) for name, frames in clips.items())
    ]
    return "\n".join([*seen, f"{animation}", f"{sheet}"])


def parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(
        prog="python -m tiny.own_camera",
        description=(__doc__ or "").split("\n\n")[0],
        epilog=f"Moves with a name: {'; '.join(f'{k} = {v}' for k, v in PRESETS.items())}. "
        f"Others: {GRAMMAR}.".replace("%", "%%"),
    )
    wanted.add_argument("move", help="a name, or what the camera does: see below")
    wanted.add_argument("--name", help="of the LoRA; needed where the move has none")
    wanted.add_argument("--checkpoint", default="tiny", help="or a folder of the same files")
    wanted.add_argument("--folder", type=Path, default=Path("runs/own_camera"))
    wanted.add_argument("--clips", type=int, default=CLIPS, help="to film (%(default)s)")
    wanted.add_argument("--steps", type=int, default=STEPS, help="to train (%(default)s)")
    wanted.add_argument("--batch", type=int, default=BATCH, help="clips of a step (%(default)s)")
    wanted.add_argument("--prompt", default=PROMPT, help="of the preview")
    wanted.add_argument("--seed", type=int, default=SEED, help="of the preview")
    add_options(wanted)
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser()
    given = asked.parse_args(arguments)
    if (problem := refusal(given)) is not None:
        asked.error(problem)
    settings = Settings.from_env()
    # More than there are files of clips would have nothing to film.
    processes = given.processes or min(processes_of(given), FILES)
    try:
        if given.name is None and given.move not in PRESETS:
            Move.parse(given.move)
            raise Refused("a move without a name needs one: --name NAME")
        task = Task(
            name=given.name or given.move,
            move=Move.parse(given.move),
            checkpoint=given.checkpoint,
            clips=given.clips,
            steps=given.steps,
            batch=given.batch,
        )
        # Not for the preview: an engine finds its own device.
        with torch.device(given.device):
            file = make(task, given.folder / task.name, processes=processes, settings=settings)
        told = show(task, file, settings, prompt=given.prompt, seed=given.seed)
    except (Refused, MoveError, shipped.NotThisFamily, CheckpointError, ltx2.Ltx2Error) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(
        f"{file}\n{told}\nNow: ltx2 generate {given.prompt!r} --checkpoint {given.checkpoint} "
        f"--lora {file}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
