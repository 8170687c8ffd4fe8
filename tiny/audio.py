"""The audio VAE, and the vocoder that makes a waveform of its mel spectrograms."""

import random
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.checkpoints.autoencoders import AUDIO_HOP, AUDIO_RATE
from tiny import captions, half, sound, world
from tiny.loop import Draw, Losses, Recipe, Training
from tiny.modules import module
from tiny.sizes import ORIGINAL

VAE = Recipe(steps=1000, rate=0.01, evaluate=100, save=50, average=0.99)
VOCODER = Recipe(steps=700, rate=0.01, evaluate=100, save=50, average=0.99)
VAE_CLIPS, VOCODER_CLIPS = 20, 12  # of a step
SECONDS = 2.0
RATE = ORIGINAL["vocoder"]["output_sampling_rate"]
FRAME = AUDIO_HOP * RATE // AUDIO_RATE  # samples of the waveform for a frame of the mel
LATENTS = 17  # of a window in training; 4 mel frames each, but the first, which has one
SHAKE = 0.15  # standard deviation of the noise on a latent in training
PULL = 1e-4  # weight of the latents' mean square
SIDE = 1.0  # weight of the difference between left and right, which is small beside both
QUIET = -9.0  # where the decoder starts: about the mean of log mels
BLUR = 0.15  # standard deviation of the noise on the vocoder's mel in training


def recording(draw: random.Random) -> tuple[Tensor, Tensor]:
    """A window of a random scene's sound: log mel (2, frames, 64), and the waveform (2, samples)
    at the vocoder's rate, from the same moment on.
    """
    scene = captions.draw_scene(draw).scene
    camera = world.camera(draw.choice((None, *world.CAMERAS)), draw)
    low, high = (
        sound.waveform(scene, camera, SECONDS, rate, aspect=5 / 3) for rate in (AUDIO_RATE, RATE)
    )
    mel = sound.log_mel(low)
    frames = 4 * LATENTS - 3
    begin = draw.randint(0, mel.shape[1] - frames - 1)
    return (
        mel[:, begin : begin + frames],
        high[:, begin * FRAME : (begin + frames) * FRAME],
    )


def vae_losses(vae: nn.Module, draw: Draw) -> Losses:
    mel = torch.stack([recording(draw.plain)[0] for _ in range(draw.mine(VAE_CLIPS))])
    with half.convolutions():
        latent = vae.encode(mel, return_dict=False)[0].mean
        noise = torch.randn(latent.shape, generator=draw.torch)
        heard = vae.decode(latent + SHAKE * noise, return_dict=False)[0]
    return {
        "square": 0.1 * (heard - mel).square().mean(),
        "absolute": 0.1 * (heard - mel).abs().mean(),
        "side": 0.1 * SIDE * _between(heard - mel).square().mean(),
        "pull": PULL * latent.square().mean(),
    }


def vae_evaluate(vae: nn.Module) -> Mapping[str, float]:
    """Mean absolute error of the log mel; a constant mean would be off by about 2. And how much of
    the difference between left and right is lost: 1 is all of it.
    """
    draw = random.Random("unseen")
    mel = torch.stack([recording(draw)[0] for _ in range(32)])
    latent = vae.encode(mel, return_dict=False)[0].mean
    heard = vae.decode(latent, return_dict=False)[0]
    return {
        "error": (heard - mel).abs().mean().item(),
        "side_lost": _lost(heard, mel),
        "std": latent.std().item(),
    }


def vocoder_losses(vocoder: nn.Module, draw: Draw) -> Losses:
    pairs = [recording(draw.plain) for _ in range(draw.mine(VOCODER_CLIPS))]
    mel, wave = (torch.stack(values) for values in zip(*pairs, strict=True))
    noise = torch.randn(mel.shape, generator=draw.torch)
    with half.convolutions():
        heard = vocoder(mel + BLUR * noise)
    return {
        "square": 10 * (heard - wave).square().mean(),
        "absolute": (heard - wave).abs().mean(),
        "side": 10 * SIDE * _between(heard - wave).square().mean(),
    }


def vocoder_evaluate(vocoder: nn.Module) -> Mapping[str, float]:
    """Signal-to-noise ratio of the waveform, in decibels, and how much of the difference between
    left and right is lost.
    """
    draw = random.Random("unseen")
    pairs = [recording(draw) for _ in range(16)]
    mel, wave = (torch.stack(values) for values in zip(*pairs, strict=True))
    heard = vocoder(mel)
    ratio = wave.square().mean() / (heard - wave).square().mean()
    return {"snr_db": 10 * torch.log10(ratio).item(), "side_lost": _lost(heard, wave)}


def _between(values: Tensor) -> Tensor:
    """Left less right, of (n, 2, ...)."""
    return values[:, 0] - values[:, 1]


def _lost(heard: Tensor, true: Tensor) -> float:
    """Share of the variance between left and right that is not there."""
    return (_between(heard - true).square().mean() / _between(true).square().mean()).item()


def train_vae(folder: Path, *, until: int | None = None) -> nn.Module:
    vae = module("audio_vae", seed=VAE.seed)
    nn.init.constant_(vae.decoder.conv_out.conv.bias, QUIET)
    training = Training("audio_vae", vae, VAE, folder)
    training.resume()
    training.run(lambda draw: vae_losses(vae, draw), vae_evaluate, until=until)
    return vae


def train_vocoder(folder: Path, *, until: int | None = None) -> nn.Module:
    vocoder = module("vocoder", seed=VOCODER.seed)
    training = Training("vocoder", vocoder, VOCODER, folder)
    training.resume()
    training.run(lambda draw: vocoder_losses(vocoder, draw), vocoder_evaluate, until=until)
    return vocoder
