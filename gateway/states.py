"""A generation and its states: one union for the whole life, no flags beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, assert_never

# The five words of the API.
Status = Literal["queued", "in_progress", "completed", "failed", "canceled"]
CostState = Literal["held", "captured", "released"]
# What is going on in a running generation, in this order.
Phase = Literal["loading", "prompt", "generate", "refine", "decode", "saving"]
ErrorType = Literal[
    "timeout", "lost", "out_of_memory", "content_filtered_error", "invalid_input", "api_error"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is; `seq` only grows, `percent` never falls."""

    seq: int
    phase: Phase
    step: int | None  # None where the phase has no steps
    steps: int | None
    percent: int  # 0 to 100 of the whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The finished video as it really is."""

    content_type: str
    width: int  # pixels
    height: int
    fps: float
    num_frames: int
    duration: float  # seconds
    has_audio: bool
    seed: int
    prompt: str  # the one really used
    bytes: int
    sha256: str
    warnings: tuple[str, ...]  # sentences of the worker
    checkpoint: str | None = None  # that made it; None where the worker did not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """Accepted and paid for, not yet given to a worker."""

    position: int  # 1 is next


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Given to the worker, which has not begun. `position` counts what was given to it before."""

    at: datetime
    position: int | None = None  # 1 is next; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The worker is at it."""

    since: datetime
    progress: Progress | None  # None until the first report


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """Its end was asked for; the worker may still win the race. `began` as in Running."""

    at: datetime
    began: datetime | None
    progress: Progress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The video is there and paid for."""

    at: datetime
    began: datetime | None
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No video in time; the credits are back. `late` came after we gave up, for free."""

    at: datetime
    began: datetime | None
    error: ErrorType
    message: str  # for people, with what became of the credits
    late: Output | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Stopped; the credits are back."""

    at: datetime
    began: datetime | None


Live = Queued | Submitted | Running | Cancelling
Ended = Done | Failed | Cancelled
State = Live | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One video that was asked for. `form` is what was asked, every default filled in."""

    id: str
    account_id: str
    created_at: datetime
    form: Mapping[str, Any]
    credits: int  # held, captured or released, as `cost_state` says
    price_version: str
    favourite: bool
    state: State
    queue_ms: int | None  # what the worker says, once it has ended
    execution_ms: int | None
    eta_seconds: float | None = None  # until its end, from those before it; None: not known
    version: int = 0  # grows with every change
    unanswered: bool = False  # nobody answers for its worker now: what is known of it is old
    replayed: bool = False  # True where an idempotency key gave it again

    @property
    def status(self) -> Status:
        """The word of the API."""
        match self.state:
            case Queued() | Submitted():
                return "queued"
            case Running():
                return "in_progress"
            case Cancelling(began=began):
                return "queued" if began is None else "in_progress"
            case Done():
                return "completed"
            case Failed():
                return "failed"
            case Cancelled():
                return "canceled"
            case _:
                assert_never(self.state)

    @property
    def cost_state(self) -> CostState:
        """What became of its credits."""
        match self.state:
            case Done():
                return "captured"
            case Failed() | Cancelled():
                return "released"
            case Queued() | Submitted() | Running() | Cancelling():
                return "held"
            case _:
                assert_never(self.state)

    @property
    def ended(self) -> bool:
        """Whether nothing more will change but a late video."""
        return isinstance(self.state, Ended)

    @property
    def output(self) -> Output | None:
        """The video, if there is one; a late one too."""
        match self.state:
            case Done(output=output) | Failed(late=output):
                return output
            case _:
                return None
