"""The requests whose plans are kept as files: each mode, task, size, and option that shapes one."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from ltx2.adapters import fitting
from ltx2.extent import PictureFacts
from ltx2.planner import plan
from ltx2.request import Request
from pipelines.models import CHECKPOINTS
from pipelines.plan import Plan, RestorePlan, canonical_json

FOLDER = Path(__file__).with_name("plans")

# A picture in 16:9 and one in 9:16; the hash stands for their bytes.
WIDE = PictureFacts(width=1600, height=900, sha256="a" * 64)
TALL = PictureFacts(width=900, height=1600, sha256="b" * 64)
IMAGE = "https://example.com/first.png"
LAST = "https://example.com/last.png"


def cases() -> Iterator[tuple[str, Request, dict[str, PictureFacts]]]:
    """Name, request and pictures of every golden plan; the same for each checkpoint."""

    def case(name, pictures=None, **fields):
        return name, Request(prompt="A red ball rolls left.", seed=7, **fields), pictures or {}

    for mode, size in product(("fast", "pro"), (None, "540p", "720p", "1080p")):
        named = size or "default"
        yield case(f"{mode} text {named}", mode=mode, resolution=size)
        yield case(
            f"{mode} image {named}", {"image": WIDE}, mode=mode, resolution=size, image=IMAGE
        )
    for mode in ("fast", "pro"):
        yield case(f"{mode} one pass", mode=mode, spatial_upscaler=False, width=544, height=320)
        yield case(f"{mode} portrait", mode=mode, aspect_ratio="9:16", resolution="720p")
        yield case(
            f"{mode} first and last, portrait by the picture",
            {"image": TALL, "last_image": WIDE},
            mode=mode,
            image=IMAGE,
            last_image=LAST,
            image_strength=0.8,
        )
        yield case(f"{mode} camera", mode=mode, camera_motion="dolly_in", camera_strength=0.5)
        yield case(
            f"{mode} loras",
            mode=mode,
            loras=[
                {"source": "someone/loras:style.safetensors", "strength": 0.9},
                {"source": "https://example.com/grain.safetensors", "stages": "refine"},
            ],
        )
        for spatial in (True, False):
            yield case(
                f"{mode} twice the frames, {'two sizes' if spatial else 'one size'}",
                {"image": WIDE, "keyframes[0]": WIDE},
                mode=mode,
                image=IMAGE,
                keyframes=[{"image": LAST, "second": 2.0, "strength": 0.7}],
                temporal_upscaler=True,
                spatial_upscaler=spatial,
            )
    yield case("fast snapped, 48 fps", width=1000, height=600, duration=3.1, fps=48)
    yield case("fast without sound, 60 fps, 20 s", generate_audio=False, fps=60, duration=20)
    yield case(
        "pro with its own guidance",
        mode="pro",
        num_inference_steps=12,
        guidance_scale=4,
        stg_scale=0,
        audio_stg_scale=0,
        audio_guidance_rescale=0,
        negative_prompt="blurry",
    )


def detailed() -> Iterator[tuple[str, Request, dict[str, PictureFacts]]]:
    """Cases of the checkpoints that have a detailer."""
    for mode in ("fast", "pro"):
        fields = {"prompt": "A red ball rolls left.", "seed": 7, "mode": mode, "detailer": True}
        yield f"{mode} detailed", Request(**fields), {}
        yield f"{mode} detailed, twice the frames", Request(**fields, temporal_upscaler=True), {}


def plans(checkpoint: str) -> dict[str, Plan]:
    """The plans of a checkpoint by the name of their case."""
    has_detailer = "detailer" in fitting(CHECKPOINTS[checkpoint], ("detailer",))
    all_cases = [*cases(), *(detailed() if has_detailer else ())]
    made = {
        name: plan(request, checkpoint=checkpoint, pictures=pictures)
        for name, request, pictures in all_cases
    }
    assert len(made) == len(all_cases), "two cases share a name"
    return made


def lines(made: Mapping[str, Plan | RestorePlan]) -> str:
    """A golden file: a line for each part of a plan, so that a diff names it."""
    blocks = []
    for name, each in made.items():
        parts = [f"    {json.dumps(k)}: {canonical_json(v)}" for k, v in each.as_dict().items()]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def written(checkpoint: str) -> str:
    """The golden file of a checkpoint."""
    return lines(plans(checkpoint))


def file(checkpoint: str) -> Path:
    """Where a checkpoint's golden plans lie."""
    return FOLDER / f"{checkpoint}.json"


NAMES = tuple(CHECKPOINTS)
