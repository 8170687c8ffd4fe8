"""The one flow behind every door: request, plan, fetch, run, encode, deliver."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltx2.delivery import Delivery
from ltx2.errors import BadRequest
from ltx2.extent import Limits, PictureFacts
from ltx2.forms import lora_form
from ltx2.media.encode import write_mp4
from ltx2.media.fetch import MediaLimits, fetch_all
from ltx2.planner import plan
from ltx2.progress import Progress, expected_work
from ltx2.request import Request
from ltx2.results import Receipt, mp4_metadata
from pipelines.models import Checkpoint
from pipelines.plan import Plan
from pipelines.values import Inputs

if TYPE_CHECKING:
    import numpy as np

    from ltx2.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that can no longer be refused: its plan and its fetched pictures."""

    plan: Plan
    inputs: Inputs
    generation_id: str | None = None


def prepare(
    request: Request,
    *,
    checkpoint: Checkpoint,
    limits: Limits,
    media: MediaLimits,
    paths: bool = True,
) -> Prepared:
    """Fetch the pictures and decide every number.

    Touches no weights; raises every refusal there is.
    """
    pictures = fetch_all(
        {"image": request.image, "last_image": request.last_image}, allow_paths=paths, limits=media
    )
    facts = {
        name: PictureFacts(width=p.image.width, height=p.image.height, sha256=p.sha256)
        for name, p in pictures.items()
    }
    decided = plan(request, checkpoint=checkpoint, limits=limits, pictures=facts)
    if problems := list(_lora_problems(request)):
        raise BadRequest(problems)
    images = {name: picture.image for name, picture in pictures.items()}
    return Prepared(plan=decided, inputs=Inputs(images=images), generation_id=request.generation_id)


def _lora_problems(request: Request) -> Iterator[str]:
    """LoRAs that are well-formed but not here.

    Nothing fetches them yet, so it must be a local file.
    """
    for index, lora in enumerate(request.loras):
        form = lora_form(lora.source)
        if form in ("url", "repository"):
            yield (
                f"loras[{index}]: {lora.source} is not on this machine;"
                " give a local .safetensors file"
            )
        elif form == "path" and not Path(lora.source).is_file():
            yield f"loras[{index}]: there is no file {lora.source}"


def generate(
    request: Request,
    *,
    engine: "Engine",
    deliver: Delivery,
    progress: Progress | None = None,
    paths: bool = True,
) -> Receipt:
    """From a request to a delivered MP4.

    Frames are encoded as they are decoded: the clip is never whole in memory.
    """
    prepared = prepare(
        request,
        checkpoint=engine.checkpoint,
        limits=engine.limits,
        media=engine.media_limits,
        paths=paths,
    )
    return execute(prepared, engine=engine, deliver=deliver, progress=progress or Progress())


def execute(
    prepared: Prepared, *, engine: "Engine", deliver: Delivery, progress: Progress
) -> Receipt:
    """The second half of `generate`: run a prepared request and deliver its clip."""
    decided = prepared.plan
    progress.expect(expected_work(decided))
    clip = engine.run(decided, prepared.inputs, progress)
    decoded = clip.frames
    with closing(decoded), progress.stage("decode+encode", clip.chunks):
        clip.frames = counted(decoded, progress)
        encoded = write_mp4(
            clip, deliver.path(decided), metadata=mp4_metadata(decided), **engine.encoder_options
        )
    return Receipt(
        plan=decided,
        encoded=encoded,
        delivered=deliver.hand_over(encoded),
        timings=dict(progress.timings),
        generation_id=prepared.generation_id,
        warnings=engine.run_warnings(decided),
    )


def counted(frames: "Iterable[np.ndarray]", progress: Progress) -> "Generator[np.ndarray]":
    """The chunks of a clip, with a progress step after each.

    There decoding can be cancelled, too.
    """
    for chunk in frames:
        yield chunk
        progress.step()
