"""The sound of a scene, and what the audio VAE sees of it.

Every thing hums: its colour is the pitch, its place on the screen the side, its motion the
loudness. A mel spectrogram is Lightricks': magnitudes, 64 Slaney bands, natural logarithm.
"""

import math
from functools import cache

import torch
from torch import Tensor

from pipelines.checkpoints.autoencoders import AUDIO_HOP, AUDIO_RATE
from tiny import world
from tiny.world import AnyCamera, Scene, Thing

# Hertz. Multiples of the 100 mel frames a second: for a spectrum that stays the same, a
# convolutional vocoder repeats itself every frame, so these are the tones that it can hold.
PITCHES = {
    "red": 300.0,
    "yellow": 400.0,
    "green": 500.0,
    "blue": 700.0,
    "purple": 900.0,
    "white": 1200.0,
}
OVERTONE = 0.25  # the second harmonic, next to the first
LOUDNESS = 0.35  # of a thing at its loudest
FADE = 0.02  # seconds, at both ends
MEL_BANDS = 64
WINDOW = 1024  # samples of the Fourier transform
FLOOR = 1e-5  # of a band's magnitude


def waveform(
    scene: Scene, camera: AnyCamera, seconds: float, rate: int, *, aspect: float
) -> Tensor:
    """What is heard, float32 (2, samples) at `rate` hertz; zeros for a silent scene."""
    samples = round(seconds * rate)
    wave = torch.zeros(2, samples)
    if scene.silent:
        return wave
    clock = torch.arange(samples) / rate
    time = clock / seconds
    for thing in scene.things:
        turn = 2 * math.pi * PITCHES[thing.colour] * clock
        tone = torch.sin(turn) + OVERTONE * torch.sin(2 * turn)
        x, y, _ = world.path(thing, time)
        side = (world.on_screen(camera, time, x, y)[0] / (aspect / 2)).clamp(-1, 1)
        angle = (side + 1) * math.pi / 4
        wave += LOUDNESS * loudness(thing, time) * tone * torch.stack((angle.cos(), angle.sin()))
    edge = (torch.minimum(clock, seconds - clock) / FADE).clamp(0, 1)
    return wave * edge


def loudness(thing: Thing, time: Tensor) -> Tensor:
    """0 to 1 at each time: a growing thing swells, a bouncing one sounds when it hits the floor."""
    if thing.motion == "growing":
        return 0.2 + 0.8 * time
    if thing.motion == "bouncing":
        return torch.exp(-4 * torch.frac(time * world.BOUNCES))
    return torch.full_like(time, 0.8)


def log_mel(wave: Tensor) -> Tensor:
    """A waveform (..., samples) at 16 kHz to its log mel spectrogram (..., frames, 64), a frame
    every 160 samples, the first around sample 0.
    """
    flat = wave.reshape(-1, wave.shape[-1])
    spectrum = torch.stft(
        flat,
        WINDOW,
        hop_length=AUDIO_HOP,
        window=torch.hann_window(WINDOW),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()
    mel = (_bands() @ spectrum).clamp(min=FLOOR).log()
    return mel.transpose(-1, -2).reshape(*wave.shape[:-1], -1, MEL_BANDS)


@cache
def _bands() -> Tensor:
    """Triangles on Slaney's mel scale, each of area one, (64, WINDOW // 2 + 1)."""
    edges = _hertz(torch.linspace(0, _mel(AUDIO_RATE / 2), MEL_BANDS + 2, dtype=torch.float64))
    bins = torch.linspace(0, AUDIO_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


# Slaney's scale: linear to 1000 Hz, three mels for 200 Hz, then 27 mels for a factor of 6.4.
_LINEAR, _KNEE = 200 / 3, 1000.0
_STEP = math.log(6.4) / 27


def _mel(hertz: float) -> float:
    if hertz < _KNEE:
        return hertz / _LINEAR
    return _KNEE / _LINEAR + math.log(hertz / _KNEE) / _STEP


def _hertz(mel: Tensor) -> Tensor:
    knee = _KNEE / _LINEAR
    return torch.where(mel < knee, mel * _LINEAR, _KNEE * torch.exp(_STEP * (mel - knee)))
