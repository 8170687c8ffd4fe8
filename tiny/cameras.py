"""Seven camera LoRAs: the same worlds, filmed with one move each."""

from collections.abc import Mapping
from pathlib import Path

from tiny import adapters
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.sizes import LORA_RANKS
from tiny.transformer import Captions, Clips, Generator, batch, flow, load

RECIPE = Recipe(
    steps=200, rate=0.02, other_rate=1e-3, warm_up=20, evaluate=50, save=50, average=0.98
)
COUNT = 32  # clips in a batch


def losses(model: Generator, clips: Clips, captions: Captions, move: str, draw: Draw) -> Losses:
    clean = batch(draw.plain, clips, captions, move, "small", COUNT)
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
    adapters.add(model.transformer, LORA_RANKS["camera"], everything=False, seed=RECIPE.seed)
    model.connectors.requires_grad_(requires_grad=False)
    captions = Captions(folder / "text_encoder")
    clips = Clips(folder / "latents", (move,))
    training = Training(f"camera_{move}", model, RECIPE, folder)
    training.resume()
    training.run(
        lambda draw: losses(model, clips, captions, move, draw),
        lambda trained: evaluate(trained, clips, captions, move),  # pyright: ignore
        until=until,
    )
    return model
