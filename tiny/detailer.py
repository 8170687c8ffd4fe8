"""The detailer, an IC-LoRA: a worn clip is redrawn while it follows itself at half the size.

As the detail pass runs it: without a prompt and without sound, at the refining pass's levels.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipelines.geometry import pixel_frames
from pipelines.tokens import pack_video
from pipelines.upstream.keyframe_position import appended_positions
from pipelines.values import Placed
from tiny import adapters, half, latents, refining
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.sizes import DETAILER_DOWNSCALE, LORA_RANKS
from tiny.transformer import Batch, Beside, Captions, Clips, Generator, load, seen_error, velocity

RECIPE = Recipe(
    steps=1200, rate=0.02, other_rate=1e-3, warm_up=20, evaluate=100, save=50, average=0.98
)
COUNT = 16  # clips of a step


def pairs(
    draw: random.Random, clips: Clips, captions: Captions, count: int
) -> tuple[Batch, Tensor, Tensor]:
    """`count` clips without prompts; the same worn, (n, tokens, channels); and those at half the
    size, (n, C, F, h, w).
    """
    chosen = clips.draw(draw, "worn", count)
    large, worn, small = (
        torch.stack([shard[name][i] for shard, i in chosen])
        for name in ("large", "worn", "worn_half")
    )
    text, mask = captions([""] * count)
    clean = Batch(
        video=pack_video(large),
        audio=torch.zeros(count, 1, chosen[0][0]["audio"].shape[1] * 16),
        text=text,
        mask=mask,
        grid=(large.shape[2], large.shape[3], large.shape[4]),
        last=pack_video(large[:, :, -1:]),
        frames=pixel_frames(large.shape[2]),
        said=("",) * count,
    )
    return clean, pack_video(worn), small


def losses(model: Generator, clips: Clips, captions: Captions, draw: Draw) -> Losses:
    clean, worn, small = pairs(draw.plain, clips, captions, draw.mine(COUNT))
    placed = Placed(
        latent=small[:1],
        strength=1.0,
        frame=0,
        append=True,
        reference=True,
        downscale=DETAILER_DOWNSCALE,
    )
    beside = Beside(
        tokens=pack_video(small),
        positions=appended_positions(model.transformer, placed, latents.FPS),
    )
    level, seen = refining.on_the_way(worn, clean.video, draw)
    way, _ = velocity(
        model,
        clean,
        seen,
        clean.audio,
        torch.full((len(seen),), level),
        beside=beside,
        held=True,
        isolated=True,
    )
    return {"video": seen_error(way, (seen - clean.video) / level, None, None)}


def evaluate(model: Generator, clips: Clips, captions: Captions) -> Mapping[str, float]:
    """The loss on one fixed batch, with the LoRA and without it."""

    def loss() -> float:
        return losses(model, clips, captions, Draw.at(-1, 0))["video"].item()

    measured = {"with": loss()}
    with adapters.without(model.transformer):
        return {**measured, "without": loss()}


def train(folder: Path, *, until: int | None = None) -> Generator:
    """Train the detailer on the dev model."""
    model = load(folder)
    adapters.add(model.transformer, LORA_RANKS["detailer"], everything=False, seed=RECIPE.seed)
    model.connectors.requires_grad_(requires_grad=False)
    captions = Captions(folder / "text_encoder")
    clips, unseen = Clips(folder / "latents", ("worn",)).split()
    training = Training("detailer", model, RECIPE, folder)
    training.resume()
    half.linears(model)
    training.run(
        lambda draw: losses(model, clips, captions, draw),
        lambda trained: evaluate(trained, unseen, captions),  # pyright: ignore
        until=until,
    )
    return model
