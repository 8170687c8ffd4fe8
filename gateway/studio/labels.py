"""What the form calls its fields, for sentences that name them as the API does."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.studio.wording import sentence

LABELS: Final[Mapping[str, str]] = {
    "prompt": "Prompt",
    "negative_prompt": "Avoid",
    "image": "First frame",
    "last_image": "Last frame",
    "model": "Model",
    "mode": "Mode",
    "resolution": "Resolution",
    "aspect_ratio": "Shape",
    "duration": "Length",
    "fps": "Frames a second",
    "camera_motion": "Camera",
    "seed": "Seed",
    "num_inference_steps": "Steps",
    "guidance_scale": "Scale",
    "generate_audio": "Sound",
    "spatial_upscaler": "Two passes",
    "temporal_upscaler": "Double frame rate",
    "detailer": "Detailer",
    "enhance_prompt": "Enrich prompt",
}
# A name of one word is one of the language, too: it is only a field's where a sentence begins.
_NAMES = "|".join(sorted(LABELS, key=len, reverse=True))
_NAMED = re.compile(rf"^({_NAMES})\b|\b((?:{'|'.join(n for n in LABELS if '_' in n)}))\b")


def spoken(told: str) -> str:
    """A sentence about fields, with the names that the form shows."""
    return sentence(_NAMED.sub(lambda found: LABELS[found[0]], told))
