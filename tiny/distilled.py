"""The distilled model: eight steps and three more, without guidance.

A LoRA learns to do in one step of the distilled schedule what the guided dev model does in two
smaller ones (progressive distillation), and to finish upscaled clips at the three levels of the
refining pass. The LoRA is what Pro's second stage puts on the dev model; added to its weights it is
the distilled checkpoint.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.models import PRO_VIDEO
from pipelines.sigmas import DISTILLED
from pipelines.tokens import pack_video, unpack_video
from tiny import adapters, half, refining, upscalers
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.sizes import LORA_RANKS
from tiny.transformer import (
    SOUND,
    Batch,
    Captions,
    Clips,
    Generator,
    batch,
    load,
    load_with_lora,
    seen_error,
    velocity,
    with_first_frame,
)
from tiny.upscalers import Scaled
from tiny.world import CAMERAS

RECIPE = Recipe(
    steps=800, rate=0.01, other_rate=1e-3, warm_up=30, evaluate=100, save=50, average=0.98
)
GUIDANCE = PRO_VIDEO  # of the dev model, also of its sound
WITHIN = 2  # its steps within one of the distilled model's
ANIMATED = 0.25  # share of batches whose first frame is given
COUNT, LARGE_COUNT = 32, 16  # clips of a step
REFINING = 0.4  # share of batches that are of the refining pass
MOVED = 0.4  # of the others, share that is made with a camera's LoRA, as users put it on

Cameras = Mapping[str, Mapping[str, Tensor]]  # of each move, its LoRA's `adapters.products`


def ahead(model: Generator, clips: Clips, texts: Captions, cameras: Cameras, draw: Draw) -> Losses:
    """The error of the way from a level of the distilled schedule to the next, beside where the
    guided dev model comes to in `WITHIN` steps; both with a camera's LoRA now and then.
    """
    move = draw.shared.choice(CAMERAS) if draw.shared.random() < MOVED else None
    count = draw.mine(COUNT)
    clean = batch(draw.plain, clips, texts, move or "small", "small", count, leave_out=0.05)
    if move is None:
        return _ahead(model, clean, texts, draw)
    with adapters.added(model.transformer, cameras[move]):
        # The ground shows where the camera goes: it counts as much as things do.
        return _ahead(model, replace(clean, weight=None), texts, draw)


def _ahead(model: Generator, clean: Batch, texts: Captions, draw: Draw) -> Losses:
    count = len(clean.video)
    levels = torch.tensor(DISTILLED)
    at = torch.randint(0, len(levels) - 1, (count,), generator=draw.torch)
    sigma, following = levels[at], levels[at + 1]
    noise = torch.randn(clean.video.shape, generator=draw.torch)
    hiss = torch.randn(clean.audio.shape, generator=draw.torch)
    video = torch.lerp(clean.video, noise, sigma[:, None, None])
    audio = torch.lerp(clean.audio, hiss, sigma[:, None, None])
    given = None
    if draw.shared.random() < ANIMATED:
        video, given = with_first_frame(clean, video)
    ends = guided(model, clean, texts, (video, audio), sigma, following, given)
    whole = (following - sigma)[:, None, None]
    wanted = [(end - begin) / whole for end, begin in zip(ends, (video, audio), strict=True)]
    way, sound = velocity(model, clean, video, audio, sigma, given=given)
    return {
        "video": seen_error(way, wanted[0], clean.weight, given),
        "audio": SOUND * F.mse_loss(sound, wanted[1]),
    }


@torch.no_grad()
def guided(
    model: Generator,
    clean: Batch,
    texts: Captions,
    begin: tuple[Tensor, Tensor],
    sigma: Tensor,
    following: Tensor,
    given: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Where the guided dev model comes to from `begin`, video and audio, between two levels.

    Guided as Pro guides its picture, but for the guidance by skipped self-attention and with an
    empty negative prompt; the sound the same. What picture and sound say of each other counts most
    for camera moves: without it a zoom is half as long.
    """
    text, mask = (value.expand(len(sigma), *value.shape[1:]) for value in texts([""]))
    unsaid = replace(clean, text=text, mask=mask)
    video, audio = begin
    step = (following - sigma) / WITHIN
    with adapters.without(model.transformer):
        for index in range(WITHIN):
            level = sigma + index * step
            now = video, audio
            own = _ways(model, clean, now, level, given)
            others = _ways(model, unsaid, now, level, given)
            apart = _ways(model, clean, now, level, given, isolated=True)
            way, sound = map(partial(guided_way, level), now, own, others, apart)
            if given is not None:
                way = way * given[..., None]
            video = video + step[:, None, None] * way
            audio = audio + step[:, None, None] * sound
    return video, audio


def _ways(
    model: Generator,
    clean: Batch,
    now: tuple[Tensor, Tensor],
    level: Tensor,
    given: Tensor | None,
    *,
    isolated: bool = False,
) -> tuple[Tensor, Tensor]:
    """The model's answer, which leaves given tokens where they are."""
    way, sound = velocity(model, clean, *now, level, given=given, isolated=isolated)
    return (way if given is None else way * given[..., None]), sound


def guided_way(level: Tensor, now: Tensor, own: Tensor, other: Tensor, apart: Tensor) -> Tensor:
    """The guided answer: away from those without the prompt and without the other stream, towards
    a clean clip that varies about as much as that of the model's own.
    """
    way = own + (GUIDANCE.cfg - 1) * (own - other) + (GUIDANCE.modality - 1) * (own - apart)
    level = level[:, None, None]
    clean, wanted = now - level * way, now - level * own
    ratio = wanted.std((1, 2), keepdim=True) / clean.std((1, 2), keepdim=True)
    return (now - clean * (GUIDANCE.rescale * ratio + 1 - GUIDANCE.rescale)) / level


def finish(model: Generator, clips: Clips, texts: Captions, upscaler: Scaled, draw: Draw) -> Losses:
    """The error of the way from an upscaled small clip, noised, to the large clip.

    The ground counts as much as things do: it shows where the camera goes, which is to be kept.
    """
    count = draw.mine(LARGE_COUNT)
    clean = batch(draw.plain, clips, texts, "pair", "large", count, leave_out=0.05)
    frames, height, width = clean.grid
    small = unpack_video(clean.small, frames, height // 2, width // 2)
    with torch.no_grad():
        upscaled = pack_video(upscaler(small))
    level, seen = refining.on_the_way(upscaled, clean.video, draw)
    sigma = torch.full((count,), level)
    hiss = torch.randn(clean.audio.shape, generator=draw.torch)
    heard = torch.lerp(clean.audio, hiss, level)
    given = None
    if draw.shared.random() < ANIMATED:
        seen, given = with_first_frame(clean, seen)
    way, sound = velocity(model, clean, seen, heard, sigma, given=given)
    return {
        "refined": seen_error(way, (seen - clean.video) / level, None, given),
        "refined_audio": SOUND * F.mse_loss(sound, hiss - clean.audio),
    }


@torch.no_grad()
def _cameras(folder: Path) -> Cameras:
    loras = ((move, load_with_lora(folder, f"camera_{move}")) for move in CAMERAS)
    return {move: dict(adapters.products(lora.transformer)) for move, lora in loras}


def train(folder: Path, *, until: int | None = None) -> Generator:
    """Train the LoRA on the dev model."""
    moves = _cameras(folder)
    model = load(folder)
    texts = Captions(folder / "text_encoder")
    clips, unseen = Clips(folder / "latents", ("small", "pair", *CAMERAS)).split()
    upscaler = upscalers.load(folder, "spatial_upscaler")
    adapters.add(model.transformer, LORA_RANKS["distilled"], everything=True, seed=RECIPE.seed)
    model.connectors.requires_grad_(requires_grad=False)

    def losses(draw: Draw) -> Losses:
        if draw.shared.random() < REFINING:
            return finish(model, clips, texts, upscaler, draw)
        return ahead(model, clips, texts, moves, draw)

    def evaluate(trained: Any) -> Mapping[str, float]:  # noqa: ANN401
        """The error on clips that training does not see, with the LoRA and without it."""

        def loss() -> float:
            draws = [Draw.at(-1, index) for index in range(6)]
            found = [ahead(trained, unseen, texts, moves, draw) for draw in draws]
            return sum(each["video"].item() for each in found) / len(found)

        def refined() -> float:
            draws = [Draw.at(-2, index) for index in range(6)]
            found = [finish(trained, unseen, texts, upscaler, draw) for draw in draws]
            return sum(each["refined"].item() for each in found) / len(found)

        measured = {"with": loss(), "refined_with": refined()}
        with adapters.without(trained.transformer):
            return {**measured, "without": loss(), "refined_without": refined()}

    training = Training("distilled", model, RECIPE, folder)
    training.resume()
    half.linears(model)
    training.run(losses, evaluate, until=until)
    return model
