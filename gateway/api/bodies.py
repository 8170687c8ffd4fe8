"""What the API answers, as pydantic models: the OpenAPI document and the JSON come from them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from gateway.desk import EntryKind
from gateway.offer_view import Mode
from gateway.states import CostState, ErrorType, Status

PhaseWord = Literal[
    "queued", "waiting", "loading", "prompt", "generate", "refine", "decode", "saving", "done"
]


class CapabilitiesBody(BaseModel):
    """What a mode really does here; a field whose flag is false is refused."""

    t2v: bool
    i2v: bool
    last_frame: bool
    audio: bool
    loras: bool
    negative_prompt: bool
    guidance: bool
    spatial_upscaler: bool
    temporal_upscaler: bool
    detailer: bool
    enhance_prompt: bool
    camera_motion: list[str]


class ResolutionBody(BaseModel):
    """A resolution with all that can be combined with it."""

    id: str
    sizes: dict[str, tuple[int, int]] = Field(description="Aspect ratio to width and height.")
    fps_durations: dict[str, list[int]] = Field(description="Frames a second to seconds.")
    credits_per_second: int


class ModeBody(BaseModel):
    """A mode of a model."""

    mode: Mode
    label: str
    note: str
    steps: int
    refine_steps: int
    capabilities: CapabilitiesBody
    resolutions: list[ResolutionBody]


class ModelBody(BaseModel):
    """A model."""

    id: str
    embedded: bool = Field(description="true: a toy, which makes coloured shapes.")
    modes: list[ModeBody]


class DefaultsBody(BaseModel):
    """What a field means that is left out."""

    model: str
    mode: Mode
    resolution: str
    aspect_ratio: str
    duration: int
    fps: int


class ModelsBody(BaseModel):
    """Everything that can be asked for, and what it costs."""

    price_version: str
    credit_usd: str
    default: DefaultsBody
    surcharges: dict[str, int] = Field(description="Per cent on the price, by option.")
    max_prompt: int
    max_upload_bytes: int
    upload_types: list[str]
    models: list[ModelBody]


class PriceLineBody(BaseModel):
    """A part of a price, in words."""

    label: str
    credits: int


class BreakdownBody(BaseModel):
    """Where a price comes from."""

    mode: str
    resolution: str
    duration: int
    credits_per_second: int
    lines: list[PriceLineBody]


class ActualBody(BaseModel):
    """What the video will really be."""

    width: int
    height: int
    fps: int
    num_frames: int
    seconds: float


class EstimateBody(BaseModel):
    """What a request costs. Nothing is held."""

    credits: int
    usd: str
    price_version: str
    breakdown: BreakdownBody
    actual: ActualBody
    available: int
    available_after: int
    sufficient: bool
    notes: list[str] = Field(description="What was moved or has no effect, in sentences.")


class ProgressBody(BaseModel):
    """How far a generation is."""

    seq: int = Field(description="Grows with every change but that of the place in the queue.")
    phase: PhaseWord
    step: int | None = None
    steps: int | None = None
    percent: int = Field(ge=0, le=100)
    queue_position: int | None = Field(default=None, description="1 is next.")
    eta_seconds: float | None = Field(default=None, description="Until its end; null: not known.")


class OutputBody(BaseModel):
    """The finished video as it really is."""

    url: str
    thumbnail_url: str
    content_type: str
    width: int
    height: int
    fps: float
    num_frames: int
    duration: float
    has_audio: bool
    seed: int
    prompt: str = Field(description="The one that was really used.")
    bytes: int
    sha256: str
    warnings: list[str]
    expires_at: datetime | None = None


class FailureBody(BaseModel):
    """Why there is no video."""

    type: ErrorType
    message: str


class CostBody(BaseModel):
    """Its credits and what became of them."""

    credits: int
    state: CostState
    price_version: str


class TimingBody(BaseModel):
    """What the worker says, in milliseconds."""

    queue_ms: int | None
    execution_ms: int | None


class UrlsBody(BaseModel):
    """Where everything about a generation is."""

    self: str
    events: str
    cancel: str
    content: str | None = Field(description="null until there is a video.")
    page: str


class GenerationBody(BaseModel):
    """One video that was asked for."""

    id: str
    object: Literal["generation"] = "generation"
    status: Status
    cancel_requested: bool
    favourite: bool
    progress: ProgressBody | None = Field(description="null once it failed or was canceled.")
    request: dict[str, Any] = Field(description="What was asked, every default filled in.")
    output: OutputBody | None
    error: FailureBody | None
    cost: CostBody
    timing: TimingBody | None = Field(description="null until it has ended.")
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    urls: UrlsBody
    message: str | None = Field(default=None, description="What a cancel does, in a sentence.")


class GenerationsBody(BaseModel):
    """Some generations, newest first."""

    data: list[GenerationBody]
    next_cursor: str | None
    has_more: bool


class EntryBody(BaseModel):
    """A row of the ledger."""

    id: int
    kind: EntryKind
    amount: int = Field(description="Change of the available credits.")
    held_delta: int = Field(description="Change of the held credits.")
    generation_id: str | None
    price_version: str | None
    note: str | None
    created_at: datetime


class CreditsBody(BaseModel):
    """An account's credits and its newest entries."""

    available: int
    held: int
    credit_usd: str
    entries: list[EntryBody]
    next_cursor: str | None


class LedgerBody(BaseModel):
    """Entries of the ledger, newest first."""

    data: list[EntryBody]
    next_cursor: str | None
    has_more: bool


class UploadBody(BaseModel):
    """A picture that was taken."""

    id: str
    object: Literal["upload"] = "upload"
    uri: str = Field(description="Stands for the picture in a request.")
    content_type: str
    width: int
    height: int
    bytes: int
    expires_at: datetime


class EnhancedBody(BaseModel):
    """A richer prompt."""

    prompt: str


class WebhookSecretsBody(BaseModel):
    """What an account's webhooks are signed with."""

    secrets: list[str] = Field(description="`whsec_` and base64; the newest first.")


class DeletedBody(BaseModel):
    """What was deleted."""

    id: str
    object: Literal["generation.deleted"] = "generation.deleted"
    deleted: bool = True


class HealthBody(BaseModel):
    """Whether the gateway works."""

    status: Literal["ok", "degraded"]
    fake: bool = Field(description="true: a worker that only pretends, for tests.")
    checks: dict[str, str] = Field(description="ok, or what is wrong, by part.")
    version: str
