"""Latents to frames and sound.

The frames are lazy: the decoder runs while the encoder of the file reads them.
"""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.geometry import SPATIAL, TEMPORAL, latent_frames, snap_down, tile_spans
from pipelines.plan import DecodePlan, Plan
from pipelines.residency import free_memory
from pipelines.speed.vae_layout import laid_out
from pipelines.stages.pixels import frames_on_host
from pipelines.tokens import denormalise_audio, denormalise_video
from pipelines.upstream.spatial_tiling import DecodeTile, decode_in_space
from pipelines.upstream.temporal_tiling import decode_in_time
from pipelines.values import Clip, Latents, NonFinite

logger = logging.getLogger(__name__)


def decode(model: Components, latents: Latents, plan: Plan, *, sound: Latents | None) -> Clip:
    """A clip whose sound is ready and whose frames are decoded on demand.

    `sound` None gives a clip without sound.
    """
    warnings: list[str] = []
    audio, rate = (None, None) if sound is None else decode_audio(model, sound.audio)
    return Clip(
        frames=decode_video(model, latents.video, plan.decode, warnings),
        chunks=tile_count(plan.num_frames, plan.decode),
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=plan.fps,
        audio=audio,
        audio_sample_rate=rate,
        warnings=warnings,
    )


# Smaller tiles where the decoder has little memory: share of the reference's edges, and frames.
# Edges come first: a shorter tile makes more work, since 24 of its frames are shared.
_SMALLER = ((2 / 3, 80), (1 / 2, 80), (1 / 2, 56), (1 / 3, 56), (1 / 3, 40), (1 / 4, 40))


def smaller_tiles(plan: DecodePlan) -> Iterator[DecodePlan]:
    """Smaller and smaller tiles; they share as much with their neighbours as before."""
    for share, frames in _SMALLER:
        yield replace(
            plan,
            tile_width=_edge(plan.tile_width * share, plan.overlap),
            tile_height=_edge(plan.tile_height * share, plan.overlap),
            tile_frames=max(min(plan.tile_frames, frames), plan.overlap_frames + TEMPORAL),
        )


def _edge(pixels: float, overlap: int) -> int:
    """On the grid, and twice as long as what neighbours share."""
    return max(snap_down(int(pixels), SPATIAL), 2 * overlap)


def tile_count(num_frames: int, plan: DecodePlan) -> int:
    """Chunks that `decode_video` yields."""
    return len(tile_spans(latent_frames(num_frames), *_tile_latents(plan)))


def _tile_latents(plan: DecodePlan) -> tuple[int, int]:
    return plan.tile_frames // TEMPORAL, plan.overlap_frames // TEMPORAL


def decode_video(
    model: Components, video: Tensor, plan: DecodePlan, warnings: list[str] | None = None
) -> Generator[np.ndarray]:
    """Yield uint8 (n, height, width, 3).

    Memory is bounded by the tile, whatever the length of the clip. A clip of one flat colour is
    reported in `warnings`: it is what a broken decoder makes.
    """
    cells = (plan.tile_height // SPATIAL, plan.tile_width // SPATIAL)
    lowest, highest = 255, 0
    layout = model.levers.vae_layout
    with model.using("vae") as vae, untiled(vae), laid_out(vae, layout, model.device):

        def decode_cells(cell: Tensor) -> Tensor:
            return vae.decode(cell.to(model.device, vae.dtype), return_dict=False)[0]

        def decode_tile(tile: Tensor) -> Tensor:
            with torch.inference_mode():
                return decode_as_it_fits(
                    decode_cells, tile, cells, plan.overlap // SPATIAL, warnings
                )

        latent = denormalise_video(vae, video)
        for pixels in decode_in_time(decode_tile, latent, *_tile_latents(plan)):
            chunk, (low, high) = frames_on_host(pixels)
            lowest, highest = min(lowest, low), max(highest, high)
            del pixels  # not beside the next tile
            yield chunk
    if warnings is not None and lowest == highest:
        warnings.append("every pixel of the clip has the same value: the decoder made no picture")


def decode_as_it_fits(
    decode: DecodeTile,
    latent: Tensor,
    cells: tuple[int, int],
    overlap: int,
    warnings: list[str] | None = None,
) -> Tensor:
    """Decode in tiles of `cells`; where the device runs out of memory, once more in smaller ones.

    A failed decode must not cost the generation before it. The tiles it then takes are told in
    `warnings`, once.
    """
    try:
        return decode_in_space(decode, latent, cells, overlap)
    except torch.OutOfMemoryError:
        smaller = _half(cells, overlap)
    # Outside the handler: the error's traceback holds the tensors that did not fit.
    free_memory(latent.device)
    logger.warning("out of memory in tiles of %s cells, decoding in %s", cells, smaller)
    told = (
        "the decoder ran out of memory and used tiles of "
        f"{smaller[1] * SPATIAL}x{smaller[0] * SPATIAL} instead of "
        f"{cells[1] * SPATIAL}x{cells[0] * SPATIAL} pixels"
    )
    if warnings is not None and told not in warnings:
        warnings.append(told)
    return decode_in_space(decode, latent, smaller, overlap)


def halved(plan: DecodePlan) -> DecodePlan:
    """The tiles that `decode_as_it_fits` takes where these do not fit."""
    height, width = _half(
        (plan.tile_height // SPATIAL, plan.tile_width // SPATIAL), plan.overlap // SPATIAL
    )
    return replace(plan, tile_height=height * SPATIAL, tile_width=width * SPATIAL)


def _half(cells: tuple[int, int], overlap: int) -> tuple[int, int]:
    """Rows and columns of latents, halved, but more than neighbours share."""
    return max(overlap + 1, cells[0] // 2), max(overlap + 1, cells[1] // 2)


@contextmanager
def untiled(vae: nn.Module) -> Iterator[None]:
    """Keep the VAE from tiling by itself, whatever it was set to, and put its settings back."""
    before = {name: getattr(vae, name) for name in ("use_tiling", "use_framewise_decoding")}
    for name in before:
        setattr(vae, name, False)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)


@torch.inference_mode()
def decode_audio(model: Components, audio: Tensor) -> tuple[np.ndarray, int]:
    """Normalised latents (1, 8, T, 16) to a waveform and its sample rate.

    The waveform is float32 (channels, samples) in -1..1. Always in float32: the vocoder's periodic
    activations lose audible detail in bfloat16.
    """
    with model.using("audio_vae") as audio_vae, model.using("vocoder") as vocoder:
        if {audio_vae.dtype, vocoder.dtype} != {torch.float32}:
            raise RuntimeError(
                f"the sound is decoded in float32, not {audio_vae.dtype} and {vocoder.dtype}"
            )
        mel = audio_vae.decode(
            denormalise_audio(audio_vae, audio.to(model.device)), return_dict=False
        )[0]
        wave = vocoder(mel)[0]
        if not torch.isfinite(wave).all():  # before clamping, which would hide an infinity
            raise NonFinite("sound: the decoded sound is not finite")
        return wave.clamp(-1, 1).cpu().numpy(), int(vocoder.config.output_sampling_rate)
