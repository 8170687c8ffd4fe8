"""The connectors and the audio-video transformer, by flow matching on encoded scenes.

x = (1 - sigma) x0 + sigma noise, and the model answers noise - x0. One sigma for picture and sound,
drawn mostly high: a scene is decided there. Prompts are left out now and then, so that guidance has
something to push away from; first frames are given now and then, so that pictures can be animated;
streams are isolated and self-attention is perturbed now and then, as guidance will do it.
"""

import os
import random
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

from pipelines.geometry import pixel_frames
from pipelines.models import TINY
from pipelines.prompts import DEFAULT_NEGATIVE
from pipelines.stages.prompt import hidden_states
from pipelines.tokens import pack_audio, pack_video, unpack_video
from pipelines.upstream.cross_modal_gate import cross_modal_gate
from pipelines.upstream.keyframe_position import appended_positions
from pipelines.upstream.prompt_tokens import prompt_tokens
from pipelines.values import Placed
from tiny import adapters, half, latents, sizes
from tiny.captions import directed
from tiny.loop import Draw, Losses, Recipe, Training, load_average, read
from tiny.modules import module
from tiny.text_encoder import write_text_encoder
from tiny.world import CAMERAS

RECIPE = Recipe(
    steps=4600,
    rate=0.01,
    other_rate=1e-3,
    warm_up=200,
    evaluate=100,
    save=50,
    average=0.998,
)
DIRECTED = "directed"  # clips of every camera's move, which the caption then says
# What a step is of, from a step on: kind of clip, size of the latent, clips, and how often.
LESSONS = (
    (0, (("small", "small", 64, 0.65), (DIRECTED, "small", 64, 0.35))),
    (
        2500,
        (("small", "small", 64, 0.35), (DIRECTED, "small", 64, 0.35), ("pair", "large", 16, 0.3)),
    ),
)
NO_PROMPT = 0.12  # share of captions that are left out
NONSENSE = 0.3  # of them, share that is random letters instead of nothing
NEGATIVE = 0.3  # of them, share that is the default negative prompt
FIRST_FRAME = 0.25  # share of batches whose first frame is given
LAST_FRAME = 0.06  # share of batches that are given the last frame beside the clip
HELD = 0.06  # share of batches whose sound is given
ISOLATED = 0.08  # share of batches without attention between picture and sound
PERTURBED = 0.06  # share of clips without self-attention in the blocks that guidance perturbs
REFINED = 0.91  # highest sigma of the refining pass
SHIFTS = (8.0, 2.0)  # sigma = s u / (1 + (s - 1) u), u uniform: one of these for each clip
THINGS = 4.0  # what a token weighs that shows a thing and nothing else, more than the ground's 1
SOUND = 0.5  # weight of the sound's loss


class Generator(nn.Module):
    """The transformer and its connectors, as they are trained together."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.transformer = module("transformer", seed=seed)
        self.connectors = module("connectors", seed=seed)
        with torch.no_grad():
            for linear in (self.transformer.proj_out, self.transformer.audio_proj_out):
                nn.init.zeros_(linear.weight)  # the first answer is the mean velocity


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Clean clips, packed, with what is said of them."""

    video: Tensor  # (n, tokens, channels)
    audio: Tensor  # (n, T, channels)
    text: Tensor  # (n, tokens, width, layers): the text encoder's, left-padded with zeros
    mask: Tensor  # (n, tokens)
    grid: tuple[int, int, int]  # latent frames, rows and columns
    last: Tensor  # (n, tokens, channels): the last frame by itself
    frames: int  # of the clip in pixels
    said: tuple[str, ...]
    weight: Tensor | None = None  # (n, tokens): how much each one's error counts
    small: Tensor | None = None  # (n, tokens / 4, channels): the clip at half the size


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """Clean tokens (n, k, channels) that a clip is shown, and their positions (1, 3, k, 2)."""

    tokens: Tensor
    positions: Tensor


class Captions:
    """The text encoder's hidden states of captions, each computed once."""

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            working = folder.with_name(f"{folder.name}.{os.getpid()}")
            write_text_encoder(working)
            try:
                working.rename(folder)
            except OSError:  # another process was faster, with the same files
                shutil.rmtree(working)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        encoder = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.encoder = encoder.to(torch.get_default_device())
        self.known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(n, MAX_TOKENS, width, layers) and the mask (n, MAX_TOKENS)."""
        for text in texts:
            if text not in self.known:
                tokens = prompt_tokens(self.tokenizer, text)
                # Without the padding, which nothing reads.
                ids, mask = tokens.ids[:, -tokens.length :], tokens.mask[:, -tokens.length :]
                self.known[text] = hidden_states(self.encoder, ids, mask, self.encoder.device)[
                    0
                ].clone()
        found = [self.known[text] for text in texts]
        padded = [F.pad(t, (0, 0, 0, 0, sizes.MAX_TOKENS - len(t), 0)) for t in found]
        masks = [F.pad(torch.ones(len(t)), (sizes.MAX_TOKENS - len(t), 0)) for t in found]
        return torch.stack(padded), torch.stack(masks)


class Clips:
    """The shards of some kinds, as they are now."""

    def __init__(self, folder: Path, kinds: Collection[str]) -> None:
        self.shards = {kind: list(_shards(folder, kind)) for kind in kinds}

    def split(self) -> "tuple[Clips, Clips]":
        """To train on, and the first shard of each kind, to evaluate on. ValueError for a kind of
        one shard.
        """
        short = [kind for kind, shards in self.shards.items() if len(shards) < 2]
        if short:
            raise ValueError(
                f"{', '.join(short)}: two shards or more are needed, one of them to be measured on"
            )
        seen, unseen = copy(self), copy(self)
        seen.shards = {kind: shards[1:] for kind, shards in self.shards.items()}
        unseen.shards = {kind: shards[:1] for kind, shards in self.shards.items()}
        return seen, unseen

    def draw(self, draw: random.Random, kind: str, count: int) -> list[tuple[Mapping, int]]:
        """`count` clips, each as its shard and its place in it."""
        found = []
        for _ in range(count):
            shard = draw.choice(self.shards[kind])
            found.append((shard, draw.randrange(len(shard["text"]))))
        return found


def _shards(folder: Path, kind: str) -> Iterator[Mapping]:
    paths = sorted(folder.glob(f"{kind}-*.pt"))
    if not paths:
        raise FileNotFoundError(f"no shard of {kind} in {folder}: python -m tiny.train latents")
    for path in paths:
        yield read(path)


def no_prompt(draw: random.Random) -> str:
    """A text that says nothing of the scene."""
    chance = draw.random()
    if chance < NONSENSE:
        letters = "abcdefghijklmnopqrstuvwxyz     "
        return "".join(draw.choice(letters) for _ in range(draw.randint(5, 80)))
    return DEFAULT_NEGATIVE if chance < NONSENSE + NEGATIVE else ""


def batch(draw: random.Random, clips: Clips, captions: Captions, kind: str, size: str, count: int,
          *, leave_out: float = NO_PROMPT) -> Batch:  # fmt: skip
    """Clean clips of a kind, or `DIRECTED`; `leave_out` is the share without a prompt."""
    moves = draw.choices(CAMERAS, k=count) if kind == DIRECTED else []
    chosen = (
        [found for move in moves for found in clips.draw(draw, move, 1)]
        if moves
        else clips.draw(draw, kind, count)
    )
    texts = [shard["text"][i] for shard, i in chosen]
    if moves:
        texts = [directed(text, move) for text, move in zip(texts, moves, strict=True)]
    texts = [no_prompt(draw) if draw.random() < leave_out else text for text in texts]
    video = torch.stack([shard[size][i] for shard, i in chosen])
    audio = torch.stack([shard["audio"][i] for shard, i in chosen])
    text, mask = captions(texts)
    return Batch(
        video=pack_video(video),
        audio=pack_audio(audio),
        text=text,
        mask=mask,
        grid=(video.shape[2], video.shape[3], video.shape[4]),
        last=pack_video(torch.stack([shard[f"{size}_last"][i] for shard, i in chosen])),
        frames=pixel_frames(video.shape[2]),
        said=tuple(texts),
        # The ground shows where the camera goes: there it counts as much as things do.
        weight=None
        if moves
        else 1
        + THINGS * torch.stack([shard[f"{size}_things"][i] for shard, i in chosen]).flatten(1),
        small=pack_video(torch.stack([shard["small"][i] for shard, i in chosen]))
        if size == "large"
        else None,
    )


def sigmas(draw: torch.Generator, count: int, *, refined: bool) -> Tensor:
    """Noise levels (n,), 0 to 1; those of the refining pass are lower."""
    shift = torch.tensor(SHIFTS)[torch.randint(0, len(SHIFTS), (count,), generator=draw)]
    even = torch.rand(count, generator=draw)
    sigma = shift * even / (1 + (shift - 1) * even)
    return sigma * REFINED if refined else sigma


def velocity(
    model: Generator,
    clean: Batch,
    video: Tensor,
    audio: Tensor,
    sigma: Tensor,
    *,
    given: Tensor | None = None,
    beside: Beside | None = None,
    held: bool = False,
    isolated: bool = False,
    perturbed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The model's answer for noisy video and audio at `sigma` (n,).

    `given` (n, tokens) is 0 where a token is clean and 1 elsewhere; `held` says that the sound is.
    `perturbed` (n,) is 0 for clips without self-attention in the blocks that guidance perturbs.
    """
    transformer = model.transformer
    frames, height, width = clean.grid
    seen, heard, _ = model.connectors(clean.text, clean.mask, padding_side="left")
    scale = transformer.config.timestep_scale_multiplier
    level = (sigma * scale)[:, None]
    audio_level = torch.zeros_like(level) if held else level
    tokens = video.shape[1]
    positions = transformer.rope.prepare_video_coords(
        1, frames, height, width, video.device, fps=latents.FPS
    )
    if beside is not None:
        shown = beside.tokens
        given = video.new_ones(video.shape[:2]) if given is None else given
        given = torch.cat((given, shown.new_zeros(shown.shape[:2])), dim=1)
        video = torch.cat((video, shown), dim=1)
        positions = torch.cat((positions, beside.positions), dim=2)
    # Compiled is what most steps are: every other way would take a minute to compile.
    seldom = isolated or perturbed is not None or beside is not None or not torch.is_grad_enabled()
    stance = torch.compiler.set_stance("force_eager") if seldom else nullcontext()
    with cross_modal_gate(transformer), stance:
        answer, sound = transformer(
            hidden_states=video,
            audio_hidden_states=audio,
            encoder_hidden_states=seen,
            audio_encoder_hidden_states=heard,
            timestep=level if given is None else level * given,
            audio_timestep=audio_level,
            sigma=level[:, 0],
            audio_sigma=audio_level[:, 0],
            audio_num_frames=audio.shape[1],
            video_coords=positions.expand(len(video), -1, -1, -1),
            isolate_modalities=isolated,
            spatio_temporal_guidance_blocks=None if perturbed is None else list(TINY.stg_blocks),
            perturbation_mask=perturbed,
            return_dict=False,
        )
    return answer[:, :tokens], sound


def with_first_frame(clean: Batch, video: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy tokens with the first frame as it is, and where they are given: 0, elsewhere 1."""
    given = torch.ones(video.shape[:2])
    given[:, : clean.grid[1] * clean.grid[2]] = 0
    return torch.where(given[..., None] == 0, clean.video, video), given


def seen_error(
    answer: Tensor, wanted: Tensor, weight: Tensor | None, given: Tensor | None
) -> Tensor:
    """Mean square error of tokens (n, tokens, channels), each counted by its weight (n, tokens),
    those that are given not at all.
    """
    error = (answer - wanted).square().mean(dim=2)
    weight = torch.ones_like(error) if weight is None else weight
    weight = weight if given is None else weight * given
    return (error * weight).sum() / weight.sum()


def last_frame(model: Generator, clean: Batch) -> Beside:
    """The last frame as a picture that is given at its place in time."""
    _, height, width = clean.grid
    placed = Placed(
        latent=unpack_video(clean.last[:1], 1, height, width),
        strength=1.0,
        frame=clean.frames - 1,
        append=True,
    )
    return Beside(
        tokens=clean.last, positions=appended_positions(model.transformer, placed, latents.FPS)
    )


def flow(
    model: Generator,
    clean: Batch,
    draw: Draw,
    *,
    refined: bool,
    first_frame: float = FIRST_FRAME,
    last: float = LAST_FRAME,
    held: float = HELD,
    isolated: float = ISOLATED,
    perturbed: float = PERTURBED,
) -> Losses:
    """Mean square error of the velocity at random noise levels; things count more than the ground,
    what is given does not count.
    """
    count = len(clean.video)
    sigma = sigmas(draw.torch, count, refined=refined)
    level = sigma[:, None, None]
    noise = torch.randn(clean.video.shape, generator=draw.torch)
    hiss = torch.randn(clean.audio.shape, generator=draw.torch)
    video = torch.lerp(clean.video, noise, level)
    audio = torch.lerp(clean.audio, hiss, level)
    given = None
    if draw.shared.random() < first_frame:
        video, given = with_first_frame(clean, video)
    kept = None
    if perturbed and draw.shared.random() < 0.25:
        kept = (torch.rand(count, generator=draw.torch) >= 4 * perturbed).float()
    heard = draw.shared.random() < held
    beside = last_frame(model, clean) if draw.shared.random() < last else None
    answer, sound = velocity(
        model,
        clean,
        video,
        clean.audio if heard else audio,
        sigma,
        given=given,
        beside=beside,
        held=heard,
        isolated=draw.shared.random() < isolated,
        perturbed=kept,
    )
    seen = seen_error(answer, noise - clean.video, clean.weight, given)
    if heard:
        return {"video": seen}
    return {"video": seen, "audio": SOUND * (sound - (hiss - clean.audio)).square().mean()}


def losses(model: Generator, clips: Clips, captions: Captions, draw: Draw) -> Losses:
    _, batches = [row for row in LESSONS if row[0] <= draw.step][-1]
    kinds = [(kind, size, count) for kind, size, count, _ in batches]
    kind, size, count = draw.shared.choices(kinds, [share for *_, share in batches])[0]
    clean = batch(draw.plain, clips, captions, kind, size, draw.mine(count))
    found = flow(model, clean, draw, refined=size == "large")
    return {f"{key}_{kind}": value for key, value in found.items()}


def evaluate(model: Generator, clips: Clips, captions: Captions) -> Mapping[str, float]:
    """The same losses on clips that training does not see, at fixed noise, by noise level."""
    measured: dict[str, float] = {}
    for kind, size, count in (("small", "small", 64), ("pair", "large", 16)):
        if kind not in clips.shards:
            continue
        draw = Draw.at(-1, 0)
        clean = batch(draw.plain, clips, captions, kind, size, count, leave_out=0)
        for sigma in (0.975, 0.8, 0.4):
            noise = torch.randn(clean.video.shape, generator=draw.torch)
            hiss = torch.randn(clean.audio.shape, generator=draw.torch)
            level = torch.full((count,), sigma)
            answer, sound = velocity(
                model,
                clean,
                torch.lerp(clean.video, noise, sigma),
                torch.lerp(clean.audio, hiss, sigma),
                level,
            )
            error = (answer - (noise - clean.video)).square().mean(dim=2)
            measured[f"{size}_{sigma}"] = error.mean().item()
            if clean.weight is not None:
                things = clean.weight - 1
                measured[f"things_{size}_{sigma}"] = ((error * things).sum() / things.sum()).item()
            if size == "small":
                measured[f"sound_{sigma}"] = F.mse_loss(sound, hiss - clean.audio).item()
    return measured


def compile_blocks(model: Generator) -> None:
    """Compile the transformer's blocks: a third faster on a CPU, after some minutes."""
    torch._dynamo.config.recompile_limit = 64
    for block in model.transformer.transformer_blocks.children():
        block.compile(dynamic=False)


def train(folder: Path, *, until: int | None = None, compiled: bool = False) -> Generator:
    """The dev model; `compiled` needs a C++ compiler."""
    model = Generator(seed=RECIPE.seed)
    captions = Captions(folder / "text_encoder")
    end = RECIPE.steps if until is None else until
    reached = [batches for step, batches in LESSONS if step < end]
    kinds = {kind for batches in reached for kind, *_ in batches}
    if DIRECTED in kinds:
        kinds = {*kinds - {DIRECTED}, *CAMERAS}
    clips, unseen = Clips(folder / "latents", kinds).split()
    training = Training("transformer", model, RECIPE, folder)
    training.resume()
    half.linears(model)
    if compiled:
        compile_blocks(model)
    training.run(
        lambda draw: losses(model, clips, captions, draw),
        lambda trained: evaluate(trained, unseen, captions),
        until=until,
    )
    return model


def load(folder: Path) -> Generator:
    """The trained dev model, averaged weights."""
    model = Generator()
    load_average(model, folder / "transformer")
    return model


def load_with_lora(folder: Path, part: str) -> Generator:
    """The dev model with a trained LoRA on it: `distilled`, `camera_*` or `detailer`."""
    model = load(folder)
    kind = "camera" if part.startswith("camera_") else part
    adapters.add(model.transformer, sizes.LORA_RANKS[kind], everything=kind == "distilled", seed=0)
    load_average(model, folder / part)
    return model
