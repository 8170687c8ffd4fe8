"""Seven camera LoRAs: the same worlds, filmed with one move each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tiny import adapters, half
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.sizes import LORA_RANKS
from tiny.transformer import Captions, Clips, Generator, batch, flow, load

RECIPE = Recipe(
    steps=360, rate=0.02, other_rate=1e-3, warm_up=20, evaluate=60, save=60, average=0.98
)
# What it has to do away with is small: a hand that shakes.
STATIC = replace(RECIPE, steps=600)
COUNT = 64  # clips of a step


def recipe(move: str) -> Recipe:
    """How the LoRA of a move is trained."""
    return STATIC if move == "static" else RECIPE


def losses(
    model: Generator,
    clips: Clips,
    captions: Captions,
    move: str,
    draw: Draw,
    *,
    count: int = COUNT,
) -> Losses:
    # The ground shows where the camera goes: it counts as much as things do.
    mine = draw.mine(count)
    clean = replace(batch(draw.plain, clips, captions, move, "small", mine), weight=None)
    found = flow(model, clean, draw, refined=False, isolated=0, perturbed=0, last=0, held=0)
    return {"video": found["video"]}


def evaluate(model: Generator, clips: Clips, captions: Captions, move: str) -> Mapping[str, float]:
    """The loss on one fixed batch, with the LoRA and without it."""

    def loss() -> float:
        return losses(model, clips, captions, move, Draw.at(-1, 0))["video"].item()

    measured = {"with": loss()}
    with adapters.without(model.transformer):
        return {**measured, "without": loss()}


def train(folder: Path, move: str, *, until: int | None = None) -> Generator:
    """Train the LoRA of `move` on the dev model."""
    model = load(folder)
    captions = Captions(folder / "text_encoder")
    clips = Clips(folder / "latents", (move,)).split()
    part, steps = f"camera_{move}", recipe(move)
    learn(model, captions, clips, move, part, folder, recipe=steps, until=until)
    return model


def learn(
    model: Generator,
    captions: Captions,
    clips: tuple[Clips, Clips],
    move: str,
    part: str,
    folder: Path,
    *,
    recipe: Recipe = RECIPE,
    count: int = COUNT,
    until: int | None = None,
) -> None:
    """Put a LoRA on the model and train it on clips of `move`, evaluated on the second of `clips`.

    `part` is what it is called in `folder`, `count` the clips of a step.
    """
    seen, unseen = clips
    adapters.add(model.transformer, LORA_RANKS["camera"], everything=False, seed=recipe.seed)
    model.connectors.requires_grad_(requires_grad=False)
    training = Training(part, model, recipe, folder)
    training.resume()
    half.linears(model)
    training.run(
        lambda draw: losses(model, seen, captions, move, draw, count=count),
        lambda trained: evaluate(trained, unseen, captions, move),  # pyright: ignore
        until=until,
    )
