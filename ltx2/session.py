"""The one flow behind every door: request, plan, fetch, run, encode, deliver."""

from contextlib import closing
from typing import TYPE_CHECKING

from ltx2.delivery import Delivery
from ltx2.media.encode import write_mp4
from ltx2.prepare import Prepared, prepare
from ltx2.progress import Progress, counted, expected_work
from ltx2.request import Request
from ltx2.results import Receipt, mp4_metadata

if TYPE_CHECKING:
    from ltx2.engine import Engine


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
        files=engine.lora_files,
        sources=engine.lora_sources,
    )
    return execute(prepared, engine=engine, deliver=deliver, progress=progress or Progress())


def execute(
    prepared: Prepared, *, engine: "Engine", deliver: Delivery, progress: Progress
) -> Receipt:
    """The second half of `generate`: run a prepared request and deliver its clip."""
    matches = prepared.matches
    if matches is None:  # the command prepares a request before it has an engine
        adapters = [each for part in prepared.plan.passes.values() for each in part.adapters]
        matches = engine.lora_files.require(adapters, prepared.plan.base.variant)
    decided = engine.fitted(prepared.plan)
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
        matches=matches,
        warnings=(*engine.run_warnings(decided), *clip.warnings),
    )
