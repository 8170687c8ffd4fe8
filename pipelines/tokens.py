"""Latents as token sequences and back, and the VAEs' statistics.

The only place where layouts change.
"""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn


def pack_video(latent: Tensor) -> Tensor:
    """(1, C, F, H, W) to (1, F*H*W, C): tokens ordered by frame, row, column."""
    return latent.flatten(2).transpose(1, 2)


def unpack_video(tokens: Tensor, frames: int, height: int, width: int) -> Tensor:
    """The inverse of `pack_video`."""
    return tokens.transpose(1, 2).unflatten(2, (frames, height, width))


def pack_audio(latent: Tensor) -> Tensor:
    """(1, 8, T, 16) to (1, T, 128): one token a latent, its channels and mel bins side by side."""
    return latent.transpose(1, 2).flatten(2)


def unpack_audio(tokens: Tensor, channels: int) -> Tensor:
    """The inverse of `pack_audio`."""
    return tokens.unflatten(2, (channels, -1)).transpose(1, 2)


def _channel_statistics(vae: "nn.Module", like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = vae.get_buffer("latents_mean"), vae.get_buffer("latents_std")
    shape = (1, -1, *(1 for _ in range(like.ndim - 2)))
    return mean.to(like).view(shape), std.to(like).view(shape)


def normalise_video(vae: "nn.Module", latent: Tensor) -> Tensor:
    """VAE latents (1, C, F, H, W) to the transformer's scale."""
    mean, std = _channel_statistics(vae, latent)
    return (latent - mean) / std


def denormalise_video(vae: "nn.Module", latent: Tensor) -> Tensor:
    """The transformer's scale to VAE latents: what the decoder and the upscalers read."""
    mean, std = _channel_statistics(vae, latent)
    return latent * std + mean


def denormalise_audio(audio_vae: "nn.Module", latent: Tensor) -> Tensor:
    """The transformer's scale (1, 8, T, 16) to audio VAE latents.

    The statistics belong to the packed channels.
    """
    packed = pack_audio(latent)
    mean, std = audio_vae.get_buffer("latents_mean"), audio_vae.get_buffer("latents_std")
    return unpack_audio(packed * std.to(packed) + mean.to(packed), latent.shape[1])


def normalise_audio(audio_vae: "nn.Module", latent: Tensor) -> Tensor:
    """The inverse of `denormalise_audio`."""
    packed = pack_audio(latent)
    mean, std = audio_vae.get_buffer("latents_mean"), audio_vae.get_buffer("latents_std")
    return unpack_audio((packed - mean.to(packed)) / std.to(packed), latent.shape[1])
