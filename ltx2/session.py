"""The one flow behind every door: request, plan, fetch, run, encode, deliver."""

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from ltx2.delivery import Delivery
from ltx2.media.encode import write_mp4
from ltx2.prepare import Prepared, planned_again, prepare
from ltx2.progress import Progress, counted, expected_work
from ltx2.request import Request
from ltx2.results import Receipt, mp4_metadata
from ltx2.words import needs_words, settle

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


def complete(prepared: Prepared, *, engine: "Engine", progress: Progress) -> Prepared:
    """What only an engine can settle, before the clip is made.

    LoRAs are judged by their headers, the detailer's file tells what it follows, the model writes
    the prompt and predicts the length where they are left to it, and tiles are fitted to the memory
    that is there. Raises one error with every refusal.
    """
    request, row = prepared.request, engine.checkpoint
    if prepared.matches is None:  # the command prepares a request before it has an engine
        adapters = [each for part in prepared.plan.passes.values() for each in part.adapters]
        variant = prepared.plan.base.variant
        prepared = replace(prepared, matches=engine.lora_files.require(adapters, variant))
    downscale = engine.detailer_downscale() if request.detailer else None
    told: tuple[str, ...] = ()
    if needs_words(request, row):
        words = settle(
            request, engine, plan=prepared.plan, inputs=prepared.inputs, progress=progress
        )
        request, told = words.request, words.warnings
    if request is not prepared.request or downscale is not None:
        # A seed that was drawn stays: words and clip are made with one.
        request = request.model_copy(update={"seed": prepared.plan.seed})
        prepared = planned_again(
            prepared,
            request,
            checkpoint=row,
            limits=engine.limits,
            reference_downscale=downscale,
            told=told,
        )
    return replace(prepared, plan=engine.fitted(prepared.plan))


def execute(
    prepared: Prepared, *, engine: "Engine", deliver: Delivery, progress: Progress
) -> Receipt:
    """The second half of `generate`: run a prepared request and deliver its clip."""
    prepared = complete(prepared, engine=engine, progress=progress)
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
        generation_id=prepared.request.generation_id,
        matches=prepared.matches or {},
        warnings=(*prepared.told, *engine.run_warnings(decided), *clip.warnings),
    )
