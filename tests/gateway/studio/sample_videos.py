"""Small real videos for the sample studio: painted landscapes that move, with a chord for sound."""

import hashlib
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

SOUND_RATE = 48000
PAINTED = 144  # pixels of height
PALETTES = (
    ("#f6c177", "#ea7a5c", "#7a3b5d", "#2b1d3a"),
    ("#cfe3e6", "#8fb6c4", "#3f6f86", "#14303f"),
    ("#f3e3b8", "#b9c68a", "#5d8062", "#1d3a34"),
    ("#2a3a6b", "#1b2550", "#121737", "#070a1c"),
    ("#f2b5a7", "#d36b7a", "#6d3b72", "#251b3f"),
)


@dataclass(frozen=True)
class Clip:
    """What to paint. The same clip always has the same bytes."""

    seed: int
    width: int
    height: int
    frames: int
    fps: int
    sound: bool = True


def colour(text):
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def painted(clip, number):
    """One frame, painted small and enlarged: these are soft landscapes, and time is short."""
    small = replace(clip, width=clip.width * PAINTED // clip.height, height=PAINTED)
    picture = (hills, sea, lights)[clip.seed % 3](small, number / clip.fps)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((clip.width, clip.height), Image.Resampling.BICUBIC)


def sky(clip, top, bottom):
    rows = np.linspace(0, 1, clip.height, dtype=np.float32)[:, None, None]
    blend = colour(top) * (1 - rows) + colour(bottom) * rows
    return np.broadcast_to(blend, (clip.height, clip.width, 3)).copy()


@cache
def grid(width, height):
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows / height, columns / height


def glow(picture, clip, x, y, radius, tint):
    rows, columns = grid(clip.width, clip.height)
    distance = np.hypot(rows - y, columns - x * clip.width / clip.height)
    disc = np.clip((radius - distance) * clip.height / 2, 0, 1)[..., None]
    halo = (0.55 * np.exp(-((distance / (radius * 2.4)) ** 2)))[..., None]
    picture += (tint - picture) * np.maximum(disc, halo)


def hills(clip, seconds):
    palette = PALETTES[clip.seed % len(PALETTES)]
    picture = sky(clip, palette[1], palette[0])
    glow(picture, clip, 0.62, 0.38, 0.09, np.array([255, 240, 205], np.float32))
    rows, columns = grid(clip.width, clip.height)
    draw = np.random.default_rng(clip.seed)
    for layer in range(4):
        depth = (layer + 1) / 4
        phases = draw.uniform(0, 6.28, 3)
        along = columns[0] + seconds * 0.05 * depth**2
        ridge = 0.46 + 0.13 * layer
        for wave, phase in zip((1.3, 3.1, 7.3), phases, strict=True):
            ridge = ridge + 0.07 / wave**0.8 * np.sin(along * wave * (1.6 - depth / 2) + phase)
        shade = colour(palette[1]) * (1 - depth) + colour(palette[3]) * depth
        cover = np.clip((rows - ridge[None]) * clip.height / 1.5, 0, 1)[..., None]
        picture += (shade - picture) * cover
    return picture


def sea(clip, seconds):
    palette = PALETTES[(clip.seed // 3) % len(PALETTES)]
    picture = sky(clip, palette[2], palette[0])
    glow(picture, clip, 0.4, 0.4, 0.07, np.array([255, 246, 226], np.float32))
    rows, columns = grid(clip.width, clip.height)
    below = np.clip((rows - 0.56) / 0.44, 0.001, 1)
    ripple = np.sin(26 / (below + 0.08) + seconds * 2.2 + 5 * np.sin(columns * 3 + seconds))
    path = np.exp(-(((columns - 0.4 * clip.width / clip.height) / (0.05 + 0.3 * below)) ** 2))
    water = colour(palette[3]) + (colour(palette[2]) - colour(palette[3])) * (
        0.35 + 0.25 * ripple[..., None] * (1 - below[..., None])
    )
    water += (colour("#fff1d0") - water) * (0.75 * path * np.clip(ripple, 0, 1))[..., None]
    return np.where((rows > 0.56)[..., None], water, picture)


def lights(clip, seconds):
    picture = sky(clip, "#0b0f1f", "#1d1a33")
    rows, columns = grid(clip.width, clip.height)
    draw = np.random.default_rng(clip.seed)
    wide = clip.width / clip.height
    for _ in range(26):
        x, y, radius = draw.uniform(0, wide), draw.uniform(0.1, 0.95), draw.uniform(0.025, 0.11)
        tint = colour(("#ff9d4d", "#ffd28a", "#e2536b", "#6ea8ff", "#8be0c4")[draw.integers(5)])
        drift = seconds * draw.uniform(-0.05, 0.05)
        distance = np.hypot(rows - y, columns - (x + drift) % wide)
        disc = np.clip((radius - distance) * clip.height / 6, 0, 1)
        picture += tint * (disc * (0.35 + 0.3 * (distance / radius).clip(0, 1)))[..., None]
    return picture


def mp4(clip) -> bytes:
    """The clip as a file; painted once, then kept in the system's folder for such things."""
    name = hashlib.sha256(repr(clip).encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / "ltx2-studio-sample" / f"{name}.mp4"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".mp4", delete=False) as part:
            write(clip, part.name)
        Path(part.name).replace(kept)
    return kept.read_bytes()


def write(clip, path):
    options = {"movflags": "faststart"}
    with av.open(path, "w", format="mp4", options=options) as file:
        video = file.add_stream("libx264", rate=Fraction(clip.fps), options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        sound = file.add_stream("aac", rate=SOUND_RATE) if clip.sound else None
        for number in range(clip.frames):
            frame = av.VideoFrame.from_image(painted(clip, number))
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if sound is not None:
            write_chord(file, sound, clip.frames / clip.fps)


def write_chord(file, stream, seconds):
    times = np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE
    wave = sum(np.sin(2 * np.pi * pitch * times) for pitch in (220.0, 277.2, 329.6)) / 12
    samples = np.tile(wave.astype(np.float32), (2, 1))
    for start in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = SOUND_RATE, start
        frame.time_base = Fraction(1, SOUND_RATE)
        file.mux(stream.encode(frame))
    file.mux(stream.encode())


def jpeg(clip, number=0) -> bytes:
    """One frame as a picture."""
    target = BytesIO()
    painted(clip, number).save(target, "JPEG", quality=85)
    return target.getvalue()
