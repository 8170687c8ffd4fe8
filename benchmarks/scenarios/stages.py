"""Each part by itself: text encoder, connectors, upscaler, decoder, encoder, sound."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.bench import Bench
from benchmarks.cost import latents, text
from benchmarks.cost.clip import cells
from benchmarks.cost.work import Work
from benchmarks.results import Findings
from benchmarks.timing import Sample, timed

SIZE = (1280, 704, 121)
TOY_SIZE = (320, 192, 49)
SOUND_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A call, and its work where that is counted."""

    name: str
    call: Any
    work: Work | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--size", help="WIDTHxHEIGHTxFRAMES of the decoder; half for the upscaler")
    parser.add_argument("--only", help="names of parts, by comma")


def measure(bench: Bench) -> Findings:
    """Seconds of a call, with its share of the ceiling."""
    found = Findings()
    found.facts = {"ceiling_tflops": bench.ceiling / 1e12}
    only = None if bench.arguments.only is None else bench.arguments.only.split(",")
    for part in _parts(bench):
        if only is not None and part.name not in only:
            continue
        try:
            with torch.inference_mode():
                part.call()
                samples: list[Sample] = [
                    timed(bench.device, part.call) for _ in range(bench.arguments.runs)
                ]
        except torch.OutOfMemoryError as error:
            found.notes.append(f"{part.name} does not fit: {str(error).splitlines()[0]}")
            torch.cuda.empty_cache()
            continue
        row = found.add(part.name, samples)
        if part.work is not None:
            row["tflop"] = part.work.total / 1e12
            row["mfu"] = part.work.seconds(bench.ceiling) / row["seconds"]["median"]
    return found


def _parts(bench: Bench) -> Iterator[Part]:
    yield from _text(bench)
    yield from _picture(bench)
    yield from _sound(bench)


def _text(bench: Bench) -> Iterator[Part]:
    parts = bench.engine.components
    tokens = parts.part("tokenizer").model_max_length
    encoder = parts.part("text_encoder").model
    config = getattr(encoder, "language_model", encoder).config
    ids = torch.zeros(1, tokens, dtype=torch.long, device=bench.device)
    mask = torch.ones_like(ids)
    yield Part(
        name="text encoder",
        call=lambda: encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
        ),
        work=text.encoder(config, tokens),
    )
    connectors = parts.part("connectors:distilled")
    setup = connectors.config
    hidden = _random(bench, 1, tokens, setup.caption_channels, setup.text_proj_in_factor)
    yield Part(
        name="connectors",
        call=lambda: connectors(hidden, mask, padding_side="left"),
        work=text.connectors(setup, tokens),
    )


def _picture(bench: Bench) -> Iterator[Part]:
    """Around the video latents; the decoder in both layouts of memory."""
    parts = bench.engine.components
    frames, rows, columns = cells(*_size(bench)[::-1])
    vae, upscaler = parts.part("vae"), parts.part("spatial_upscaler")
    channels = vae.config.latent_channels
    half = (frames, max(1, rows // 2), max(1, columns // 2))
    small = _random(bench, 1, channels, *half)
    yield Part(
        name="spatial upscaler",
        call=lambda: upscaler(small),
        work=latents.upscaler(upscaler.config, *half),
    )
    whole = _random(bench, 1, channels, frames, rows, columns)
    work = latents.decoder(vae.config, frames, rows, columns)
    layouts = (("", torch.contiguous_format), (", channels last", torch.channels_last_3d))
    for suffix, layout in layouts:

        def decode(layout: torch.memory_format = layout) -> None:
            _laid_out(vae, layout)
            try:
                vae.decode(whole.contiguous(memory_format=layout), return_dict=False)
            finally:
                _laid_out(vae, torch.contiguous_format)

        yield Part(name=f"decoder, one tile{suffix}", call=decode, work=work)
    still = _random(bench, 1, 3, 1, rows * 32, columns * 32)
    yield Part(name="encoder, one picture", call=lambda: vae.encode(still))


def _laid_out(vae: torch.nn.Module, layout: torch.memory_format) -> None:
    """Kernels of the decoder in a layout; nothing is copied where they are in it."""
    for module in vae.decoder.modules():  # type: ignore[union-attr] - diffusers' decoder
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=layout)


def _sound(bench: Bench) -> Iterator[Part]:
    parts = bench.engine.components
    audio_vae, vocoder = parts.part("audio_vae"), parts.part("vocoder")
    config = audio_vae.config
    bins = config.mel_bins // 4
    generator = torch.Generator(bench.device).manual_seed(0)
    shape = (1, config.latent_channels, 25 * SOUND_SECONDS, bins)
    latent = torch.randn(shape, device=bench.device, generator=generator)
    mel = {}

    def decode() -> None:
        mel["it"] = audio_vae.decode(latent, return_dict=False)[0]

    yield Part(name="audio decoder", call=decode)
    yield Part(name="vocoder", call=lambda: vocoder(mel["it"]))


def _size(bench: Bench) -> tuple[int, int, int]:
    if bench.arguments.size:
        width, height, frames = map(int, bench.arguments.size.split("x"))
        return width, height, frames
    return TOY_SIZE if bench.engine.checkpoint.embedded else SIZE


def _random(bench: Bench, *shape: int) -> torch.Tensor:
    generator = torch.Generator(bench.device).manual_seed(0)
    drawn = torch.randn(shape, device=bench.device, generator=generator)
    return drawn.to(bench.engine.components.dtype)
