"""What may be asked for, as the form and `/api/models` show it: plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["fast", "pro"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMove:
    """A camera move of the offer, "none" among them."""

    name: str  # as the field `camera_motion` takes it
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a mode really does on the deployed worker; a field whose flag is False is refused."""

    t2v: bool
    i2v: bool
    last_frame: bool
    audio: bool
    loras: bool
    negative_prompt: bool
    guidance: bool  # guidance_scale and num_inference_steps
    spatial_upscaler: bool
    temporal_upscaler: bool
    detailer: bool
    enhance_prompt: bool
    camera_motion: tuple[str, ...]  # the moves, without "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionOffer:
    """A resolution of a mode, with all that can be combined with it."""

    id: str  # "720p"
    sizes: Mapping[str, tuple[int, int]]  # aspect ratio to width and height in pixels
    fps_durations: Mapping[int, tuple[int, ...]]  # frames a second to whole seconds
    credits_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOffer:
    """A mode of a model."""

    mode: Mode
    label: str
    note: str  # the plain trade-off, in a few words
    steps: int  # of the first pass, where the request does not say
    refine_steps: int
    capabilities: Capabilities
    resolutions: tuple[ResolutionOffer, ...]

    def resolution(self, name: str) -> ResolutionOffer | None:
        """The row of that name, None where it is not offered."""
        return next((each for each in self.resolutions if each.id == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOffer:
    """A model: a versioned name of the model table."""

    id: str
    modes: tuple[ModeOffer, ...]
    embedded: bool  # True: the toy that comes with the package

    def mode(self, name: str) -> ModeOffer | None:
        """The row of that name, None where it is not offered."""
        return next((each for each in self.modes if each.mode == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a field means that is left out."""

    model: str
    mode: Mode
    resolution: str
    aspect_ratio: str  # where no picture says otherwise
    duration: int  # seconds
    fps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Everything that can be asked for, and what it costs."""

    price_version: str
    credit_usd: str  # what a credit is worth, "0.01"
    default: Defaults
    models: tuple[ModelOffer, ...]
    cameras: tuple[CameraMove, ...]  # all that any mode has, "none" first
    surcharges: Mapping[str, int]  # per cent on the price, by the option that costs it
    max_prompt: int  # characters
    max_upload_bytes: int
    upload_types: tuple[str, ...]  # media types of pictures

    def model(self, name: str) -> ModelOffer | None:
        """The row of that name, None where it is not offered."""
        return next((each for each in self.models if each.id == name), None)
