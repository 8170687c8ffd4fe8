"""The distilled model: eight steps and three more, without guidance.

The guided dev model makes clips in many steps; a LoRA learns to go from the same noise to the same
clip in a straight line (rectified flow), at the eight noise levels of the distilled schedule, and
to finish upscaled clips at the three levels of the refining pass. The LoRA is what Pro's second
stage puts on the dev model; added to its weights it is the distilled checkpoint.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pipelines.geometry import pixel_frames
from pipelines.sigmas import DISTILLED, REFINE, anchor
from pipelines.tokens import pack_video, unpack_video
from tiny import adapters, upscalers
from tiny.loop import Draw, Losses, Recipe, Training, read
from tiny.pool import spread
from tiny.sampling import sample
from tiny.sizes import LORA_RANKS
from tiny.transformer import SOUND, Batch, Captions, Clips, Generator, batch, load, velocity
from tiny.upscalers import Scaled

RECIPE = Recipe(
    steps=500, rate=0.01, other_rate=1e-3, warm_up=30, evaluate=100, save=50, average=0.99
)
TEACHER_STEPS = 16
TEACHER_SCALE = 2.5  # of guidance
ANIMATED = 0.25  # share of batches whose first frame is given
LESSONS = 64  # clips in a file of the teacher's
COUNT, LARGE_COUNT = 32, 8  # clips in a batch
REFINING = 0.3  # share of batches that are of the refining pass


@torch.no_grad()
def teach(folder: Path, index: int, model: Generator, texts: Captions, clips: Clips) -> Path:
    """Write one file of noise and what the guided dev model makes of it, unless it is there."""
    path = folder / f"lesson-{index:04d}.pt"
    if path.exists():
        return path
    draw = Draw.at(77, index)
    wanted = batch(draw.plain, clips, texts, "small", "small", LESSONS, leave_out=0.05)
    first_frame = draw.plain.random() < ANIMATED
    noise, hiss = (
        torch.randn(clean.shape, generator=draw.torch) for clean in (wanted.video, wanted.audio)
    )
    video, audio = sample(
        model,
        wanted,
        (noise, hiss),
        anchor(TEACHER_STEPS),
        empty=texts([""]),
        scale=TEACHER_SCALE,
        first_frame=first_frame,
    )
    lesson = {"video": video, "audio": audio, "noise": noise, "hiss": hiss, "said": wanted.said,
              "first_frame": first_frame, "grid": wanted.grid}  # fmt: skip
    working = path.with_suffix(".new")
    torch.save(lesson, working)
    return working.rename(path)


def straight(model: Generator, lesson: Mapping[str, Any], texts: Captions, draw: Draw) -> Losses:
    """The error of the velocity from a lesson's noise to its clip, at the distilled levels."""
    chosen = torch.randperm(LESSONS, generator=draw.torch)[:COUNT]
    video, audio, noise, hiss = (
        lesson[name][chosen] for name in ("video", "audio", "noise", "hiss")
    )
    text, mask = texts([lesson["said"][i] for i in chosen])
    clean = Batch(
        video=video,
        audio=audio,
        text=text,
        mask=mask,
        grid=lesson["grid"],
        last=video,
        frames=pixel_frames(lesson["grid"][0]),
        said=(),
    )
    levels = torch.tensor(DISTILLED[:-1])
    sigma = levels[torch.randint(0, len(levels), (COUNT,), generator=draw.torch)]
    seen = torch.lerp(video, noise, sigma[:, None, None])
    given = None
    if lesson["first_frame"]:
        given = torch.ones(video.shape[:2])
        given[:, : clean.grid[1] * clean.grid[2]] = 0
        seen = torch.where(given[..., None] == 0, video, seen)
    way, sound = velocity(
        model, clean, seen, torch.lerp(audio, hiss, sigma[:, None, None]), sigma, given=given
    )
    error = (way - (noise - video)).square().mean(dim=2)
    return {
        "video": error.mean() if given is None else (error * given).sum() / given.sum(),
        "audio": SOUND * F.mse_loss(sound, hiss - audio),
    }


def refining(
    model: Generator, clips: Clips, texts: Captions, upscaler: Scaled, draw: Draw
) -> Losses:
    """The error of the way from an upscaled small clip, noised, to the large clip.

    At the first level the start is what the upscaler made; below it is on the way there.
    """
    clean = batch(draw.plain, clips, texts, "pair", "large", LARGE_COUNT, leave_out=0.05)
    frames, height, width = clean.grid
    small = unpack_video(clean.small, frames, height // 2, width // 2)
    with torch.no_grad():
        upscaled = pack_video(upscaler(small))
    level = draw.shared.choice(REFINE[:-1])
    sigma = torch.full((LARGE_COUNT,), level)
    noise = torch.randn(clean.video.shape, generator=draw.torch)
    hiss = torch.randn(clean.audio.shape, generator=draw.torch)
    # What is left of the upscaled clip when the level is reached from the first one.
    share = level / REFINE[0]
    start = torch.lerp(upscaled, noise, REFINE[0])
    seen = torch.lerp(clean.video, start, share)
    heard = torch.lerp(clean.audio, hiss, level)
    given = None
    if draw.shared.random() < ANIMATED:
        given = torch.ones(clean.video.shape[:2])
        given[:, : height * width] = 0
        seen = torch.where(given[..., None] == 0, clean.video, seen)
    way, sound = velocity(model, clean, seen, heard, sigma, given=given)
    error = (way - (seen - clean.video) / level).square().mean(dim=2)
    return {
        "refined": error.mean() if given is None else (error * given).sum() / given.sum(),
        "refined_audio": SOUND * F.mse_loss(sound, hiss - clean.audio),
    }


def make_lessons(folder: Path, count: int, *, processes: int) -> None:
    """Make the first `count` lessons, where they are not there yet."""
    (folder / "lessons").mkdir(exist_ok=True)
    spread(_teacher, folder, [(index,) for index in range(count)], processes)


def _teacher(folder: Path) -> Callable[[int], Path]:
    model, texts = load(folder).eval(), Captions(folder / "text_encoder")
    clips = Clips(folder / "latents", ("small",))
    return lambda index: teach(folder / "lessons", index, model, texts, clips)


def train(folder: Path, *, until: int | None = None) -> Generator:
    """Train the LoRA on the lessons that are there."""
    model = load(folder)
    texts = Captions(folder / "text_encoder")
    clips = Clips(folder / "latents", ("pair",))
    paths = sorted((folder / "lessons").glob("lesson-*.pt"))
    learnt = [read(path) for path in paths]
    if len(learnt) < 2:
        raise FileNotFoundError("no lessons to learn from: python -m tiny.train lessons")
    upscaler = upscalers.load(folder, "spatial_upscaler")
    adapters.add(model.transformer, LORA_RANKS["distilled"], everything=True, seed=RECIPE.seed)
    model.connectors.requires_grad_(requires_grad=False)

    def losses(draw: Draw) -> Losses:
        if draw.shared.random() < REFINING:
            return refining(model, clips, texts, upscaler, draw)
        return straight(model, draw.plain.choice(learnt[1:]), texts, draw)

    def evaluate(trained: Any) -> Mapping[str, float]:  # noqa: ANN401
        """How far eight steps end from the teacher's clip, with the LoRA and without it."""
        lesson = learnt[0]
        measured = {"with": _apart(trained, lesson, texts)}
        with adapters.without(trained.transformer):
            return {**measured, "without": _apart(trained, lesson, texts)}

    training = Training("distilled", model, RECIPE, folder)
    training.resume()
    training.run(losses, evaluate, until=until)
    return model


def _apart(model: Generator, lesson: Mapping[str, Any], texts: Captions) -> float:
    text, mask = texts(lesson["said"][:COUNT])
    video = lesson["video"][:COUNT]
    wanted = Batch(
        video=video,
        audio=lesson["audio"][:COUNT],
        text=text,
        mask=mask,
        grid=lesson["grid"],
        last=video,
        frames=pixel_frames(lesson["grid"][0]),
        said=(),
    )
    noise = (lesson["noise"][:COUNT], lesson["hiss"][:COUNT])
    made, _ = sample(model, wanted, noise, DISTILLED, first_frame=lesson["first_frame"])
    return F.mse_loss(made, video).item()
