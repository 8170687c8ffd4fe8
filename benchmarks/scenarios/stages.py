"""Each part by itself: text encoder, connectors, sound, upscaler, encoder, decoder."""

import argparse
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch

from benchmarks import levers
from benchmarks.baselines import lightricks_parts
from benchmarks.baselines.stock import laid_as_read
from benchmarks.bench import Bench, Unmeasurable
from benchmarks.cost import latents, text
from benchmarks.cost.clip import cells
from benchmarks.cost.work import Work
from benchmarks.levers import Chosen
from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample, timed
from benchmarks.turns import Samples
from ltx2.progress import Progress

SIZE = (1280, 704, 121)
TOY_SIZE = (320, 192, 49)
SOUND_SECONDS = 5


LIGHTRICKS = "lightricks decoder"
KINDS = ("text encoder", "connectors", "audio decoder", "vocoder", "spatial upscaler", "encoder",
         "decoder", LIGHTRICKS)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A call, and its work where that is counted. `run` times itself, instead of `call`."""

    kind: str  # one of KINDS
    name: str
    call: Callable[[], object] | None = None
    run: Measured | None = None
    work: Work | None = None
    ours: bool = True  # a failure is a problem, not a note

    def measured(self, device: torch.device) -> Measured:
        """How it is run."""
        if self.run is not None:
            return self.run

        def once() -> Sample:
            with torch.inference_mode():
                return timed(device, self.call or (lambda: None))

        return once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--size", help="WIDTHxHEIGHTxFRAMES of the decoder; half for the upscaler")
    parser.add_argument(
        "--only",
        help=f"kinds of parts, by comma: {', '.join(KINDS)}; default all, the last where installed",
    )
    levers.add_argument(parser)


def measure(bench: Bench) -> Findings:
    """Seconds of a call, with its share of the ceiling."""
    found = bench.found
    found.facts = {"ceiling_tflops": bench.ceiling / 1e12}
    only = None if bench.arguments.only is None else bench.arguments.only.split(",")
    if LIGHTRICKS in (only or ()) and (reason := lightricks_parts.missing(bench.engine, "vae")):
        raise Unmeasurable(f"{LIGHTRICKS}: {reason}")
    for group in (_text, _sound, _picture):
        for parts in group(bench):
            wanted = [part for part in parts if only is None or part.kind in only]
            _measured(bench, wanted)
    if not found.rows and not found.problems:
        raise Unmeasurable(f"no part is one of {bench.arguments.only}; there is {', '.join(KINDS)}")
    return found


def _measured(bench: Bench, parts: Sequence[Part]) -> None:
    """Parts that are compared with one another, in turns."""
    by_name = {part.name: part for part in parts}

    def show(samples: Samples) -> None:
        for name, runs in samples.items():
            row, work = bench.found.put(name, runs), by_name[name].work
            if work is not None:
                row["tflop"] = work.total / 1e12
                row["mfu"] = work.seconds(bench.ceiling) / row["seconds"]["median"]
        first, *others = (part.name for part in parts)
        for name in others:
            bench.found.compare(name, first)

    works = {part.name: part.measured(bench.device) for part in parts}
    needed = [part.name for part in parts if part.ours]
    bench.turns.take(works, show, needed=needed)


Parts = Iterator[Sequence[Part]]  # each: what takes turns


def _text(bench: Bench) -> Parts:
    parts = bench.engine.components
    tokens = parts.part("tokenizer").model_max_length
    encoder = parts.part("text_encoder").model
    config = getattr(encoder, "language_model", encoder).config
    ids = torch.arange(tokens, device=bench.device)[None] % config.vocab_size
    mask = torch.ones_like(ids)
    yield [
        Part(
            kind="text encoder",
            name="text encoder",
            call=lambda: encoder(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            ),
            work=text.encoder(config, tokens),
        )
    ]
    connectors = parts.part("connectors:distilled")
    setup = connectors.config
    hidden = _random(bench, 1, tokens, setup.caption_channels, setup.text_proj_in_factor)
    yield [
        Part(
            kind="connectors",
            name="connectors",
            call=lambda: connectors(hidden, mask, padding_side="left"),
            work=text.connectors(setup, tokens),
        )
    ]


def _picture(bench: Bench) -> Parts:
    """Around the video latents."""
    parts = bench.engine.components
    size = cells(*_size(bench)[::-1])
    frames, rows, columns = size
    vae, upscaler = parts.part("vae"), parts.part("spatial_upscaler")
    channels = vae.config.latent_channels
    half = (frames, max(1, rows // 2), max(1, columns // 2))
    small = _random(bench, 1, channels, *half)
    yield [
        Part(
            kind="spatial upscaler",
            name="spatial upscaler",
            call=lambda: upscaler(small),
            work=latents.upscaler(upscaler.config, *half),
        )
    ]
    still = _random(bench, 1, 3, 1, rows * 32, columns * 32)
    yield [Part(kind="encoder", name="encoder, one picture", call=lambda: vae.encode(still))]
    yield list(_decoders(bench, size))


def _decoders(bench: Bench, size: tuple[int, int, int]) -> Iterator[Part]:
    """The decoder as clips are decoded, by its levers and tiles, and as others run it.

    Each against the first: the settings' own levers in the plan's tiles.
    """
    vae = bench.engine.components.part("vae")
    work = latents.decoder(vae.config, *size)
    decoding = Decoding(bench)
    own = bench.engine.levers["vae_layout"]
    layouts = "/".join(f"vae_layout={layout}" for layout in levers.LAYOUTS if layout != own)
    for chosen in levers.chosen(bench.arguments.levers or layouts, bench.engine):
        for tiles, plan in (("the plan's tiles", decoding.plan), ("one tile", decoding.whole)):
            yield Part(
                kind="decoder",
                name=chosen.row(f"decoder, {tiles}"),
                run=lambda chosen=chosen, plan=plan: decoding.ours(chosen, plan),
                work=work,
                ours=tiles != "one tile",  # which may not fit
            )
    whole = _random(bench, 1, vae.config.latent_channels, *size)
    yield Part(
        kind="decoder",
        name="decoder, diffusers' own, one tile",
        run=lambda: decoding.stock(whole),
        work=work,
        ours=False,
    )
    if not lightricks_parts.missing(bench.engine, "vae"):
        yield Part(
            kind=LIGHTRICKS,
            name="decoder, Lightricks' own, its tiles",
            run=lambda: decoding.lightricks(whole),
            work=work,
            ours=False,
        )


class Decoding:
    """The engine's own decoding of a clip, to bytes on the host, after a pass of one step."""

    def __init__(self, bench: Bench) -> None:
        self._engine = bench.engine
        self._device = bench.device
        width, height, frames = _size(bench)
        prepared = bench.prepared(
            mode="fast", width=width, height=height, num_frames=frames, spatial_upscaler=False
        )
        self._inputs = prepared.inputs
        base = prepared.plan.base
        base = replace(base, sigmas=(base.sigmas[0], 0.0), sampler="euler", eta=0.0)
        plan = replace(prepared.plan, base=base)
        self.plan: Any = bench.engine.check_fits(plan).plan  # its tiles as this device takes them
        tiles, least = self.plan.decode, 2 * self.plan.decode.overlap
        self.whole: Any = replace(
            self.plan,
            decode=replace(
                tiles,
                tile_width=max(width, least),
                tile_height=max(height, least),
                tile_frames=max(frames + 7, 2 * tiles.overlap_frames),
            ),
        )

    def ours(self, chosen: Chosen, plan: Any) -> Sample:  # noqa: ANN401 - a plan
        """From latents to bytes on the host, chunk by chunk; no file is written."""
        with chosen.pulled(self._engine):
            tiles = self._engine.check_fits(plan).plan.decode
            if plan is self.whole and tiles != plan.decode:
                raise RuntimeError(f"it does not fit; it would be decoded in {tiles}")
            clip = self._engine.run(plan, self._inputs, Progress(None))
            with closing(clip.frames):
                sample = timed(self._device, lambda: deque(clip.frames, maxlen=0))
            if clip.warnings:
                raise RuntimeError("; ".join(clip.warnings))
            return sample

    def stock(self, latent: torch.Tensor) -> Sample:
        """diffusers' own decoder on weights as it loads them, to pixels on the device."""
        vae = self._engine.components.part("vae")
        with laid_as_read(self._engine), torch.inference_mode():
            return timed(self._device, lambda: vae.decode(latent, return_dict=False))

    def lightricks(self, latent: torch.Tensor) -> Sample:
        """Lightricks' own decoder on the same weights, to bytes on the host, chunk by chunk."""
        with laid_as_read(self._engine):
            return timed(
                self._device,
                lambda: deque(lightricks_parts.decoded(self._theirs, latent), maxlen=0),
            )

    @cached_property
    def _theirs(self) -> torch.nn.Module:
        return lightricks_parts.decoder(self._engine.components.part("vae"))


def _sound(bench: Bench) -> Parts:
    parts = bench.engine.components
    audio_vae, vocoder = parts.part("audio_vae"), parts.part("vocoder")
    config = audio_vae.config
    bins = config.mel_bins // 4
    generator = torch.Generator(bench.device).manual_seed(0)
    shape = (1, config.latent_channels, 25 * SOUND_SECONDS, bins)
    latent = torch.randn(shape, device=bench.device, generator=generator)

    @cache
    def mel() -> torch.Tensor:
        return audio_vae.decode(latent, return_dict=False)[0]

    yield [
        Part(
            kind="audio decoder",
            name="audio decoder",
            call=lambda: audio_vae.decode(latent, return_dict=False),
        )
    ]
    yield [Part(kind="vocoder", name="vocoder", call=lambda: vocoder(mel()))]


def _size(bench: Bench) -> tuple[int, int, int]:
    if bench.arguments.size:
        width, height, frames = map(int, bench.arguments.size.split("x"))
        return width, height, frames
    return TOY_SIZE if bench.engine.checkpoint.embedded else SIZE


def _random(bench: Bench, *shape: int) -> torch.Tensor:
    generator = torch.Generator(bench.device).manual_seed(0)
    drawn = torch.randn(shape, device=bench.device, generator=generator)
    return drawn.to(bench.engine.components.dtype)
