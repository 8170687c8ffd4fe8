"""The transformer's training data: scenes of the world, filmed, heard and encoded, in shards.

A shard is a file of `CLIPS` clips of one kind. What it holds follows from the kind and its number,
so shards can be made by any number of processes, and more of them later.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipelines.checkpoints.autoencoders import AUDIO_RATE
from pipelines.tokens import normalise_audio, normalise_video
from tiny import captions, half, sound, world
from tiny.loop import load_average, read
from tiny.modules import module
from tiny.pool import spread
from tiny.sizes import VIDEO_CHANNELS

CLIPS = 64  # in a shard
FPS = 24
SMALL, LARGE = (96, 160), (192, 320)  # height and width of the base and of the refining pass
STATISTICS = "statistics.pt"  # of the latents, beside the VAEs' weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a kind of clip is: the camera's move, frames, and the frame's heights and widths."""

    seed: int = 0  # what its shards draw from, with their numbers
    # Of the camera, by chance: one of the world's by its name, or another; None is hand-held.
    moves: tuple[str | world.AnyCamera | None, ...] = (None,)
    frames: int = 49
    small: tuple[int, int] | None = SMALL
    large: tuple[int, int] | None = None
    textured: bool = False
    half: bool = False  # also every other frame of it
    worn: tuple[int, ...] = ()  # also as if it was so many times smaller once, by chance


KINDS: dict[str, Kind] = {
    "small": Kind(seed=1),
    # The refining pass has to keep whatever move the base pass made.
    "pair": Kind(seed=2, moves=(None, None, None, *world.CAMERAS), large=LARGE),
    "long": Kind(seed=6, frames=97, half=True),
    "half_again": Kind(seed=7, small=(128, 192), large=(192, 288)),
    **{
        move: Kind(seed=seed, moves=(move,), textured=True)
        for seed, move in enumerate(world.CAMERAS, start=8)
    },
    # The video VAE alone makes edges about as soft as a quarter of the size does.
    "worn": Kind(seed=15, frames=25, small=None, large=LARGE, worn=(4, 8, 16)),
}


def audio_latents(frames: int) -> int:
    """Latents of the sound of a clip of so many frames."""
    return round(frames / FPS * 25)


def make_shard(folder: Path, kind: str, index: int, vae: nn.Module, audio_vae: nn.Module) -> Path:
    """Write the shard of a kind and number, unless it is there."""
    draw = random.Random(KINDS[kind].seed * 1_000_003 + index)
    path = folder / f"{kind}-{index:04d}.pt"
    return write_shard(path, KINDS[kind], draw, CLIPS, vae, audio_vae)


def write_shard(
    path: Path, kind: Kind, draw: random.Random, clips: int, vae: nn.Module, audio_vae: nn.Module
) -> Path:
    """Write so many clips, whole or not at all, unless they are there. Latents are normalised.

    A dict of `text` (list of str), `audio` (n, 2, T, 16), and as the kind has them `small` and
    `large` (n, C, F, h, w), with `small_last` and `large_last` (n, C, 1, h, w), the last frame by
    itself, `half` (n, C, (F + 1) / 2, h, w), every other frame, `worn` (n, C, F, h, w) and
    `worn_half`, the same at half the size. `small_things` and `large_things` (n, F, h, w) are the
    share of each latent's pixels that show a thing.
    """
    if path.exists():
        return path
    rows = [_clip(draw, kind, vae, audio_vae) for _ in range(clips)]
    shard: dict[str, object] = {"text": [row["text"] for row in rows]}
    for key in rows[0]:
        if key != "text":
            shard[key] = torch.cat([row[key] for row in rows])
    working = path.with_suffix(".new")
    torch.save(shard, working)
    return working.rename(path)


@torch.no_grad()
def _clip(
    draw: random.Random, kind: Kind, vae: nn.Module, audio_vae: nn.Module
) -> dict[str, Tensor]:
    height, width = kind.small or kind.large or SMALL
    found = captions.draw_scene(draw, aspect=width / height, textured=kind.textured)
    move = draw.choice(kind.moves)
    camera = world.camera(move, draw) if move is None or isinstance(move, str) else move
    time = torch.linspace(0, 1, kind.frames)
    row: dict[str, Tensor] = {"text": found.text}  # pyright: ignore
    for name, size in (("small", kind.small), ("large", kind.large)):
        if size:
            pixels, things = world.film_and_things(found.scene, camera, time, *size)
            pixels = pixels[None] * 2 - 1
            row[f"{name}_things"] = shares(things)[None]
            row[name] = normalise_video(vae, encode(vae, pixels))
            row[f"{name}_last"] = normalise_video(vae, encode(vae, pixels[:, :, -1:]))
            if kind.half:
                row["half"] = normalise_video(vae, encode(vae, pixels[:, :, ::2]))
            if kind.worn:
                old = worn(pixels, draw.choice(kind.worn))
                row["worn"] = normalise_video(vae, encode(vae, old))
                row["worn_half"] = normalise_video(vae, encode(vae, F.avg_pool3d(old, (1, 2, 2))))
    wave = sound.waveform(found.scene, camera, kind.frames / FPS, AUDIO_RATE, aspect=width / height)
    mel = sound.log_mel(wave)[None, :, : 4 * audio_latents(kind.frames) - 3]
    row["audio"] = normalise_audio(audio_vae, audio_vae.encode(mel, return_dict=False)[0].mean)
    return row


def worn(pixels: Tensor, times: int) -> Tensor:
    """(1, 3, n, h, w), as they are after they were so many times smaller."""
    frames = pixels[0].transpose(0, 1)
    small = F.avg_pool2d(frames, times)
    large = F.interpolate(small, size=frames.shape[2:], mode="bicubic").clamp(-1, 1)
    return large.transpose(0, 1)[None]


def shares(things: Tensor) -> Tensor:
    """Where things are, (n, h, w), as the mean over each latent's pixels: (F, h / 32, w / 32)."""
    first = F.avg_pool3d(things[None, :1], (1, 32, 32))
    return torch.cat((first, F.avg_pool3d(things[None, 1:], (8, 32, 32))), dim=1)[0]


def encode(vae: nn.Module, pixels: Tensor) -> Tensor:
    """(1, 3, n, h, w), -1 to 1, to the mean of the latent, as the VAE gives it."""
    with half.convolutions():
        latent = vae.encoder(pixels.contiguous(memory_format=torch.channels_last_3d))
    return latent[:, :VIDEO_CHANNELS].float()


def trained(folder: Path, name: str, part: str) -> nn.Module:
    """A part with its averaged weights, in evaluation mode; VAEs with their statistics."""
    made = module(part)
    load_average(made, folder / name)
    statistics = folder / name / STATISTICS
    if statistics.exists():
        made.load_state_dict({**made.state_dict(), **read(statistics)})
    return made.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def measure(folder: Path, *, clips: int = 24) -> None:
    """Mean and spread of each latent channel over random clips, kept beside both VAEs' weights."""
    vae, audio_vae = trained(folder, "video_vae", "vae"), trained(folder, "audio_vae", "audio_vae")
    for part in (vae, audio_vae):
        part.latents_mean.zero_()
        part.latents_std.fill_(1.0)
    draw = random.Random("statistics")
    rows = [_clip(draw, KINDS["pair"], vae, audio_vae) for _ in range(clips)]
    video = torch.cat([row[key][0].flatten(1) for row in rows for key in ("small", "large")], dim=1)
    audio = torch.cat([row["audio"][0].transpose(0, 1).flatten(1) for row in rows])
    # The video VAE's last: where they are, `make` takes it that both are.
    for name, values in (("audio_vae", audio.T), ("video_vae", video)):
        torch.save(
            {"latents_mean": values.mean(dim=1), "latents_std": values.std(dim=1)},
            folder / name / STATISTICS,
        )


def make(folder: Path, wanted: Mapping[str, int], *, processes: int) -> None:
    """Make the first `wanted[kind]` shards of each kind, where they are not there yet."""
    if not (folder / "video_vae" / STATISTICS).exists():
        measure(folder)
    (folder / "latents").mkdir(exist_ok=True)
    places = [(kind, index) for kind, count in wanted.items() for index in range(count)]
    spread(_maker, folder, places, processes)


def _maker(folder: Path) -> Callable[[str, int], Path]:
    vae, audio_vae = trained(folder, "video_vae", "vae"), trained(folder, "audio_vae", "audio_vae")
    vae = vae.to(memory_format=torch.channels_last_3d)
    return lambda kind, index: make_shard(folder / "latents", kind, index, vae, audio_vae)
