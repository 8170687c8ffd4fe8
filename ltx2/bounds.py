"""What this process takes, from its settings: the limits of a plan and of a picture. No torch."""

from typing import Any

from ltx2.media.fetch import MediaLimits
from ltx2.planner import Limits
from ltx2.settings import Settings


def plan_limits(settings: Settings) -> Limits:
    """The planner's limits; what is not set stays at its default."""
    return Limits(
        **_given(
            max_pixels=settings.max_pixels,
            max_seconds=settings.max_seconds,
            max_tokens=settings.max_tokens,
        )
    )


def picture_limits(settings: Settings) -> MediaLimits:
    """What is taken of a picture; what is not set stays at its default."""
    return MediaLimits(
        **_given(
            max_bytes=settings.max_image_bytes,
            max_pixels=settings.max_image_pixels,
            timeout_s=settings.fetch_seconds,
        ),
        allow_private=settings.allow_private_urls,
    )


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
