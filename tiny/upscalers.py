"""The latent upscalers: from a scene's small or slow latents to its large or smooth ones."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiny import latents
from tiny.loop import Draw, Losses, Recipe, Training, load_average, read
from tiny.modules import module
from tiny.transformer import Clips

RECIPE = Recipe(steps=1600, rate=0.01, warm_up=30, evaluate=100, save=100, average=0.98)
COUNT = 16  # clips of a step
SHAKE = 0.08  # standard deviation of the noise on what is upscaled, in the transformer's scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Which latents of which kind of clip an upscaler makes of which."""

    kind: str
    source: str
    target: str


TASKS = {
    "spatial_upscaler": Task(kind="pair", source="small", target="large"),
    "spatial_upscaler_x1.5": Task(kind="half_again", source="small", target="large"),
    "temporal_upscaler": Task(kind="long", source="half", target="small"),
}


class Scaled(nn.Module):
    """An upscaler that takes and gives the transformer's scale; the module itself has the VAE's."""

    def __init__(self, upscaler: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.upscaler = upscaler
        self.mean, self.std = mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)

    def forward(self, latent: Tensor) -> Tensor:
        return (self.upscaler(latent * self.std + self.mean) - self.mean) / self.std


def _pairs(draw: random.Random, clips: Clips, task: Task, count: int) -> tuple[Tensor, Tensor]:
    chosen = clips.draw(draw, task.kind, count)
    source, target = (
        torch.stack([shard[name][i] for shard, i in chosen]) for name in (task.source, task.target)
    )
    return source, target


def losses(model: nn.Module, clips: Clips, task: Task, draw: Draw) -> Losses:
    source, target = _pairs(draw.plain, clips, task, draw.mine(COUNT))
    noise = torch.randn(source.shape, generator=draw.torch)
    made = model(source + SHAKE * noise)
    return {"square": F.mse_loss(made, target)}


def evaluate(model: nn.Module, clips: Clips, task: Task) -> Mapping[str, float]:
    """Error on clips that training does not see, next to that of plain interpolation."""
    source, target = _pairs(random.Random("unseen"), clips, task, 24)
    plain = F.interpolate(source, size=target.shape[2:], mode="trilinear")
    return {
        "error": F.mse_loss(model(source), target).item(),
        "interpolated": F.mse_loss(plain, target).item(),
    }


def train(folder: Path, name: str, *, until: int | None = None) -> nn.Module:
    """Train one of `TASKS`."""
    task = TASKS[name]
    model = _scaled(folder, name)
    clips, unseen = Clips(folder / "latents", (task.kind,)).split()
    training = Training(name, model, RECIPE, folder)
    training.resume()
    training.run(
        lambda draw: losses(model, clips, task, draw),
        lambda trained: evaluate(trained, unseen, task),
        until=until,
    )
    return model.upscaler


def load(folder: Path, name: str) -> Scaled:
    """A trained upscaler, averaged weights, at the transformer's scale."""
    model = _scaled(folder, name)
    load_average(model, folder / name)
    return model.eval().requires_grad_(requires_grad=False)


def _scaled(folder: Path, name: str) -> Scaled:
    statistics = read(folder / "video_vae" / latents.STATISTICS)
    mean, std = statistics["latents_mean"], statistics["latents_std"]
    return Scaled(module(name, seed=RECIPE.seed), mean, std)
