"""LTX-2 on diffusers: text or a picture to video with sound. Names load when first used."""

import importlib
from typing import TYPE_CHECKING, Any

import pipelines  # noqa: F401 - before anything can import torchao, which it quiets
from ltx2.errors import (
    BadRequest,
    Cancelled,
    ConfigError,
    DeliveryFailed,
    GenerationFailed,
    Ltx2Error,
    MediaRefused,
    OutOfMemory,
    TooLarge,
    UnknownLora,
)

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.extent import Limits, PictureFacts
    from ltx2.prepare import plan
    from ltx2.progress import Progress
    from ltx2.request import Lora, Request
    from ltx2.results import Receipt, Result
    from ltx2.session import generate
    from ltx2.settings import Settings
    from ltx2.video_request import VideoRequest
    from ltx2.video_session import restore
    from pipelines.plan import Plan

__all__ = [
    "BadRequest",
    "Cancelled",
    "ConfigError",
    "DeliveryFailed",
    "Engine",
    "GenerationFailed",
    "Limits",
    "Lora",
    "Ltx2Error",
    "MediaRefused",
    "OutOfMemory",
    "PictureFacts",
    "Plan",
    "Progress",
    "Receipt",
    "Request",
    "Result",
    "Settings",
    "TooLarge",
    "UnknownLora",
    "VideoRequest",
    "generate",
    "plan",
    "restore",
]

# Where the names live that cost an import: pydantic, and torch behind Engine and generate.
_HOMES = {
    "Engine": "ltx2.engine",
    "Limits": "ltx2.extent",
    "Lora": "ltx2.request",
    "PictureFacts": "ltx2.extent",
    "Plan": "pipelines.plan",
    "Progress": "ltx2.progress",
    "Receipt": "ltx2.results",
    "Request": "ltx2.request",
    "Result": "ltx2.results",
    "Settings": "ltx2.settings",
    "generate": "ltx2.session",
    "VideoRequest": "ltx2.video_request",
    "plan": "ltx2.prepare",
    "restore": "ltx2.video_session",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as PEP 562 has it
    if name not in _HOMES:
        raise AttributeError(f"module 'ltx2' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
