"""The video VAE: pictures first, then clips.

Trained on windows of both sizes that the two passes of a clip have. The latent is shaken while it
is decoded, so that nearby latents look alike, which the transformer's small errors need.
"""

import math
import random
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tiny import half, world
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.modules import module
from tiny.sizes import VIDEO_CHANNELS

RECIPE = Recipe(steps=1400, rate=0.014, evaluate=100, save=50, average=0.99)
# Frames and clips of a step, and how often, from a step on.
LESSONS = (
    (0, (((1, 64), 1.0),)),
    (350, (((9, 16), 1.0),)),
    (850, (((1, 40), 0.2), ((9, 14), 0.4), ((17, 8), 0.4))),
)
WINDOWS = ((96, 160), (96, 128), (128, 96), (96, 96))
SHAKE = 0.15  # standard deviation of the noise on a latent in training
FIRST = 3.0  # weight of the first frame's error
THINGS = 4.0  # weight of the error where things are
PULL = 1e-4  # weight of the latents' mean square
FRAMES = 49  # of a clip that windows are cut from


def clip(draw: random.Random, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A window of `frames` frames of a random clip, (3, frames, height, width), -1 to 1, and where
    things are in it, (frames, height, width).
    """
    larger = draw.choice((1.0, 1.0, 1.5, 2.0))
    aspect = max(5 / 3, width / height)
    things = tuple(world.thing(draw, aspect=aspect) for _ in range(draw.choice((1, 1, 1, 2))))
    scene = world.scene(draw, things)
    camera = world.camera(draw.choice((None, None, None, *world.CAMERAS)), draw)
    begin = draw.randint(0, FRAMES - frames)
    time = (begin + torch.arange(frames)) / (FRAMES - 1)
    # Of the larger picture, the window is more often where a thing is.
    x, y = (aspect - width / height / larger) / 2, (1 - 1 / larger) / 2
    window = (draw.uniform(-x, x), draw.uniform(-y, y), larger)
    pixels, things = world.film_and_things(scene, camera, time, height, width, window=window)
    return pixels * 2 - 1, things


def clips(draw: random.Random, count: int, frames: int, size: tuple[int, int]) -> list[Tensor]:
    """`count` of them: pixels (count, 3, frames, h, w) and things (count, 1, frames, h, w)."""
    drawn = [clip(draw, frames, *size) for _ in range(count)]
    pixels, things = (torch.stack(values) for values in zip(*drawn, strict=True))
    return [pixels.contiguous(memory_format=torch.channels_last_3d), things[:, None]]


def decibels(error: float, span: float) -> float:
    """Peak signal-to-noise ratio of a mean square error between values `span` apart at most."""
    return 10 * math.log10(span**2 / max(error, 1e-12))


def losses(vae: nn.Module, draw: Draw, lesson: tuple[int, int]) -> Losses:
    """The error of `lesson`'s frames and clips, and what keeps the latents near zero."""
    frames, count = lesson
    size = draw.shared.choice(WINDOWS)
    pixels, things = clips(draw.plain, draw.mine(count), frames, size)
    with half.convolutions():
        latent = vae.encoder(pixels)[:, :VIDEO_CHANNELS]
        noise = torch.randn(latent.shape, generator=draw.torch)
        seen = vae.decoder(latent + SHAKE * noise)
    # The first frame is a latent of its own, and what a picture is turned into.
    weight = 1 + (THINGS - 1) * things
    weight[:, :, 0] *= FIRST
    difference = (seen - pixels) * (weight / weight.mean()).sqrt()
    found = {
        "square": difference.square().mean(),
        "absolute": 0.02 * difference.abs().mean(),
    }
    if latent.requires_grad:
        found["pull"] = PULL * latent.square().mean()
    return found


def evaluate(vae: nn.Module) -> Mapping[str, float]:
    """PSNR of pictures and of clips that training never draws, also where things are."""
    draw = random.Random("unseen")
    measured = {}
    for name, frames, count in (("image", 1, 32), ("clip", 17, 8)):
        pixels, things = clips(draw, count, frames, (96, 160))
        latent = vae.encoder(pixels)[:, :VIDEO_CHANNELS]
        error = (vae.decoder(latent).clamp(-1, 1) - pixels).square().mean(dim=1, keepdim=True)
        measured[f"{name}_db"] = decibels(error.mean().item(), 2)
        measured[f"{name}_things_db"] = decibels(((error * things).sum() / things.sum()).item(), 2)
        measured[f"{name}_std"] = latent.std().item()
    return measured


def lesson(draw: Draw) -> tuple[int, int]:
    """Frames and clips of a step's batch."""
    _, choices = [row for row in LESSONS if row[0] <= draw.step][-1]
    return draw.shared.choices([pair for pair, _ in choices], [share for _, share in choices])[0]


def train(folder: Path, *, until: int | None = None) -> nn.Module:
    vae = module("vae", seed=RECIPE.seed).to(memory_format=torch.channels_last_3d)
    training = Training("video_vae", vae, RECIPE, folder)
    training.resume()

    training.run(lambda draw: losses(vae, draw, lesson(draw)), evaluate, until=until)
    return vae
