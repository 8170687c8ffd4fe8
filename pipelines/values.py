"""What stages hand to one another, and the progress protocol. Tensors say their layout here."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A prompt as the transformer reads it: the connectors' outputs."""

    video: "torch.Tensor"  # (1, tokens, video text width)
    audio: "torch.Tensor"  # (1, tokens, audio text width)
    tokens: int  # tokens of the prompt itself
    truncated: bool  # True where the prompt was longer than the encoder reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The positive text and, where a pass is guided, the negative one."""

    positive: Text
    negative: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """A clip in latent space, always normalised by the VAEs' statistics, always float32."""

    video: "torch.Tensor"  # (1, 128, latent frames, height / 32, width / 32)
    audio: "torch.Tensor"  # (1, 8, audio latents, 16)
    slots: "torch.Tensor | None" = None  # (1, 128, slots, height / 32, width / 32), one frame each


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An encoded picture or reference and where it goes."""

    latent: "torch.Tensor"  # (1, 128, frames, height / 32, width / 32), normalised
    strength: float
    frame: int  # pixel frame; 0 with `append` False replaces the first latent frame
    append: bool
    pixel_frames: int = 1  # frames the latent was encoded from
    reference: bool = False  # a video to follow (IC-LoRA), on the clip's own time grid
    first_latent: int = 0  # latent frame of the clip at which a reference begins
    downscale: int = 1  # target pixels per reference pixel along each edge


@dataclass(slots=True, kw_only=True)
class Clip:
    """A decoded clip.

    `frames` is lazy: the decoder runs while it is read, and is freed when it is closed.
    """

    frames: Generator["np.ndarray"]  # chunks of uint8 (frames, height, width, 3), RGB
    chunks: int  # how many chunks `frames` yields
    width: int
    height: int
    num_frames: int
    fps: int | Fraction
    audio: "np.ndarray | None" = None  # float32 (channels, samples) in -1..1
    audio_sample_rate: int | None = None
    warnings: list[str] = field(default_factory=list)  # what decoding found, once it is done


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Fetched media of a request: upright sRGB pictures by their name in the plan."""

    images: "Mapping[str, Image]" = field(default_factory=dict)


class Progress(Protocol):
    """What the stages report to. `step` may raise to stop the run between two steps."""

    def stage(self, name: str, steps: int = 1) -> AbstractContextManager[None]:
        """Time a stage; the block inside is the stage, in `steps` steps."""
        ...

    def step(self) -> None:
        """One step of the current stage is done."""
        ...


class NonFinite(RuntimeError):
    """A stage produced NaN or infinity. The message names the stage."""
