"""Latents to frames and sound.

The frames are lazy: the decoder runs while the encoder of the file reads them.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.components import Components
from pipelines.geometry import SPATIAL, TEMPORAL, latent_frames, tile_spans
from pipelines.plan import DecodePlan, Plan
from pipelines.tokens import denormalise_audio, denormalise_video
from pipelines.upstream.spatial_tiling import decode_in_space
from pipelines.upstream.temporal_tiling import decode_in_time
from pipelines.values import Clip, Latents, NonFinite

# A decoder trained with timestep conditioning expects slightly noised latents (reference defaults).
DECODE_NOISE, DECODE_TIMESTEP = 0.025, 0.05
# Apart from the noise of the passes (0) and of the ancestral sampler (10000).
DECODE_SEED_OFFSET = 20000


def decode(model: Components, latents: Latents, plan: Plan, *, sound: Latents | None) -> Clip:
    """A clip whose sound is ready and whose frames are decoded on demand.

    `sound` None gives a clip without sound.
    """
    audio, rate = (None, None) if sound is None else decode_audio(model, sound.audio)
    return Clip(
        frames=decode_video(model, latents.video, plan.decode, plan.seed),
        chunks=tile_count(plan.num_frames, plan.decode),
        width=plan.width,
        height=plan.height,
        num_frames=plan.num_frames,
        fps=plan.fps,
        audio=audio,
        audio_sample_rate=rate,
    )


def tile_count(num_frames: int, plan: DecodePlan) -> int:
    """Chunks that `decode_video` yields."""
    return len(tile_spans(latent_frames(num_frames), *_tile_latents(plan)))


def _tile_latents(plan: DecodePlan) -> tuple[int, int]:
    return plan.tile_frames // TEMPORAL, plan.overlap_frames // TEMPORAL


def decode_video(
    model: Components, video: Tensor, plan: DecodePlan, seed: int
) -> Generator[np.ndarray]:
    """Yield uint8 (n, height, width, 3).

    Memory is bounded by the tile, whatever the length of the clip.
    """
    cells = (plan.tile_height // SPATIAL, plan.tile_width // SPATIAL)
    with model.using("vae") as vae, _untiled(vae):
        latent, timestep = _decoder_input(vae, video, seed)

        def decode_cells(cell: Tensor) -> Tensor:
            return vae.decode(cell.to(model.device, vae.dtype), timestep, return_dict=False)[0]

        def decode_tile(tile: Tensor) -> Tensor:
            with torch.inference_mode():
                return decode_in_space(decode_cells, tile, cells, plan.overlap // SPATIAL)

        for pixels in decode_in_time(decode_tile, latent, *_tile_latents(plan)):
            if not torch.isfinite(pixels).all():
                raise NonFinite("the decoded frames are not finite")
            yield to_uint8(pixels)


def _decoder_input(vae: nn.Module, video: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
    timestep = None
    if vae.config.timestep_conditioning:
        generator = torch.Generator().manual_seed(seed + DECODE_SEED_OFFSET)
        noise = torch.randn(video.shape, generator=generator).to(video)
        video = torch.lerp(video, noise, DECODE_NOISE)
        timestep = torch.tensor([DECODE_TIMESTEP], device=video.device, dtype=vae.dtype)
    return denormalise_video(vae, video), timestep


def to_uint8(pixels: Tensor) -> np.ndarray:
    """(1, 3, n, height, width) in -1..1 to uint8 (n, height, width, 3).

    Clamped and rounded on the device.
    """
    scaled = pixels[0].float().add(1).mul(127.5).clamp(0, 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).contiguous().cpu().numpy()


@contextmanager
def _untiled(vae: nn.Module) -> Iterator[None]:
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
        wave = vocoder(mel)[0].clamp(-1, 1)
        if not torch.isfinite(wave).all():
            raise NonFinite("the decoded sound is not finite")
        return wave.cpu().numpy(), int(vocoder.config.output_sampling_rate)
