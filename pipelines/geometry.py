"""Pixel, latent and token arithmetic. Pure integers: no torch."""

from typing import NamedTuple

SPATIAL = 32  # pixels of one latent cell, both edges
TEMPORAL = 8  # frames of one latent frame, but for the first, which holds one
AUDIO_LATENTS_PER_SECOND = 25  # 16 kHz mel, hop 160, four mel frames a latent
MAX_CONDITIONING_FPS = 60


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def snap_down(pixels: int, grid: int) -> int:
    """Largest multiple of `grid` not above `pixels`, but at least one."""
    return max(grid, pixels // grid * grid)


def snap_near(pixels: float, grid: int) -> int:
    """Nearest multiple of `grid`, at least one."""
    return max(grid, round(pixels / grid) * grid)


def snap_frames(frames: int) -> int:
    """Largest valid length not above `frames` (8k + 1)."""
    return max(1, (frames - 1) // TEMPORAL * TEMPORAL + 1)


def frames_for(seconds: float, fps: float) -> int:
    """Frames of a clip of `seconds`: whole latent frames after the first one.

    Recipe rule; at 24 fps it is 24 s + 1.
    """
    return max(1, int(seconds * fps + 1e-6) // TEMPORAL * TEMPORAL + 1)


def latent_frames(frames: int) -> int:
    """Latent frames of a clip of 8k + 1 frames."""
    return (frames - 1) // TEMPORAL + 1


def pixel_frames(latents: int) -> int:
    """Frames that `latents` latent frames decode to."""
    return (latents - 1) * TEMPORAL + 1


def tile_spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """[start, end) of tiles that cover `length` cells, neighbours sharing `overlap`.

    The last may be shorter. Every tile is longer than the overlap: the last one begins before the
    end of its neighbour and reaches beyond it. Raises ValueError unless 0 < overlap < tile.
    """
    if not 0 < overlap < tile:
        raise ValueError(f"overlap must be between 1 and {tile - 1} cells, not {overlap}")
    spans = [(0, min(tile, length))]
    while spans[-1][1] < length:
        start = spans[-1][1] - overlap
        spans.append((start, min(start + tile, length)))
    return spans


def audio_latents(seconds: float) -> int:
    """Audio latents that run as long as the clip plays.

    That is num_frames / fps, whatever the conditioning rate. At least one: a single frame at 50 or
    60 fps is shorter than half a latent.
    """
    return max(1, round(seconds * AUDIO_LATENTS_PER_SECOND))


def video_tokens(width: int, height: int, frames: int) -> int:
    """Tokens of the video stream, appended pictures not counted."""
    return (width // SPATIAL) * (height // SPATIAL) * latent_frames(frames)


def conditioning_fps(fps: float) -> float:
    """Frame rate to condition on.

    The model knows 24, 25, 30 and 60, so 48 and 50 are laid out as 60. Time positions are
    frame / fps; at 48 the model would stretch what it learned at 30 and 60.
    """
    return float(fps) if fps <= 30 else float(MAX_CONDITIONING_FPS)
