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

from pipelines.tiny.sizes import VIDEO_CHANNELS
from tiny import world
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.modules import module

RECIPE = Recipe(steps=1200, rate=0.012, evaluate=100, save=50, average=0.99)
# (first step, frames, clips in a batch)
LESSONS = ((0, 1, 32), (350, 9, 8), (900, 17, 6))
WINDOWS = ((96, 160), (96, 128), (128, 96), (96, 96))
SHAKE = 0.15  # standard deviation of the noise on a latent in training
FIRST = 3.0  # weight of the first frame's error
PULL = 1e-4  # weight of the latents' mean square
FRAMES = 49  # of a clip that windows are cut from


def clip(draw: random.Random, frames: int, height: int, width: int) -> Tensor:
    """A window of `frames` frames of a random clip, (3, frames, height, width), -1 to 1."""
    larger = draw.choice((1.0, 1.0, 1.5, 2.0))
    aspect = max(5 / 3, width / height)
    things = tuple(world.thing(draw, aspect=aspect) for _ in range(draw.choice((1, 1, 2))))
    scene = world.scene(draw, things)
    camera = world.camera(draw.choice((None, None, None, *world.CAMERAS)), draw)
    begin = draw.randint(0, FRAMES - frames)
    time = (begin + torch.arange(frames)) / (FRAMES - 1)
    # Of the larger picture, the window is more often where a thing is.
    x, y = (aspect - width / height / larger) / 2, (1 - 1 / larger) / 2
    window = (draw.uniform(-x, x), draw.uniform(-y, y), larger)
    return world.film(scene, camera, time, height, width, window=window) * 2 - 1


def decibels(error: float, span: float) -> float:
    """Peak signal-to-noise ratio of a mean square error between values `span` apart at most."""
    return 10 * math.log10(span**2 / max(error, 1e-12))


def losses(vae: nn.Module, draw: Draw) -> Losses:
    _, frames, count = [lesson for lesson in LESSONS if lesson[0] <= draw.step][-1]
    size = draw.plain.choice(WINDOWS)
    pixels = torch.stack([clip(draw.plain, frames, *size) for _ in range(count)])
    pixels = pixels.contiguous(memory_format=torch.channels_last_3d)
    latent = vae.encoder(pixels)[:, :VIDEO_CHANNELS]
    noise = torch.randn(latent.shape, generator=draw.torch)
    seen = vae.decoder(latent + SHAKE * noise)
    # The first frame is a latent of its own, and what a picture is turned into.
    weight = torch.ones(frames)
    weight[0] = FIRST
    difference = (seen - pixels) * (weight / weight.mean()).sqrt()[:, None, None]
    return {
        "square": difference.square().mean(),
        "absolute": 0.02 * difference.abs().mean(),
        "pull": PULL * latent.square().mean(),
    }


def evaluate(vae: nn.Module) -> Mapping[str, float]:
    """PSNR of pictures and of clips that training never draws."""
    draw = random.Random(-1)
    measured = {}
    for name, frames, count in (("image_db", 1, 32), ("clip_db", 17, 8)):
        pixels = torch.stack([clip(draw, frames, 96, 160) for _ in range(count)])
        latent = vae.encoder(pixels)[:, :VIDEO_CHANNELS]
        error = (vae.decoder(latent).clamp(-1, 1) - pixels).square().mean().item()
        measured[name] = decibels(error, 2)
        measured[name.replace("db", "std")] = latent.std().item()
    return measured


def train(folder: Path, *, until: int | None = None) -> nn.Module:
    vae = module("vae", seed=RECIPE.seed).to(memory_format=torch.channels_last_3d)
    training = Training("video_vae", vae, RECIPE, folder)
    training.resume()
    training.run(lambda draw: losses(vae, draw), evaluate, until=until)
    return vae
