"""The one flow behind every door: request, plan, fetch, run, encode, deliver."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ltx2.delivery import Delivery
from ltx2.errors import ConfigError
from ltx2.extent import combined
from ltx2.media.encode import Encoded, write_mp4
from ltx2.prepare import Prepared, planned_again, prepare
from ltx2.progress import Progress, counted, expected_work
from ltx2.request import Request
from ltx2.results import Receipt, mp4_metadata
from ltx2.second_try import Attempts, once_more_with_room, tried_twice
from ltx2.words import MIN_SECONDS, asks_no_length, needs_words, predicted_frames, settle
from ltx2.words import refusals as words_refused
from pipelines.plan import Plan
from pipelines.values import Clip

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.fit import Decision


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
    that is there. What files and memory refuse is refused before any model runs: files in one
    error, then memory.
    """
    request, row = prepared.request, engine.checkpoint
    matches, refused = prepared.matches, words_refused(request, row, engine.components.weights)
    if matches is None:  # the command prepares a request before it has an engine
        adapters = [each for part in prepared.plan.passes.values() for each in part.adapters]
        matches, misfits = engine.lora_files.examine(adapters, prepared.plan.base.variant)
        refused += misfits
    downscale = None
    try:
        downscale = engine.detailer_downscale() if request.detailer else None
    except ConfigError as error:
        refused.append(error)
    if refused:
        raise combined(refused)
    prepared = replace(prepared, matches=matches)
    told: tuple[str, ...] = ()
    if needs_words(request, row):
        engine.check_fits(shortest(prepared, engine, downscale).plan)
        words, retold = once_more_with_room(
            engine,
            partial(
                settle,
                request,
                engine,
                plan=prepared.plan,
                inputs=prepared.inputs,
                progress=progress,
            ),
        )
        request, told = words.request, (*retold, *words.warnings)
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


def shortest(prepared: Prepared, engine: "Engine", downscale: int | None) -> Prepared:
    """The least that a request whose words are open may become: as it stands, or where its length
    is the model's to predict, as short as that may be.
    """
    request, row = prepared.request, engine.checkpoint
    changes: dict[str, object] = {"seed": prepared.plan.seed}
    if asks_no_length(request, row):
        longest = engine.limits.max_seconds
        changes["num_frames"] = predicted_frames(MIN_SECONDS, request.fps, longest)
    return planned_again(
        prepared,
        request.model_copy(update=changes),
        checkpoint=row,
        limits=engine.limits,
        reference_downscale=downscale,
    )


def execute(
    prepared: Prepared, *, engine: "Engine", deliver: Delivery, progress: Progress
) -> Receipt:
    """The second half of `generate`: run a prepared request and deliver its clip.

    Where memory runs out it is made once more in a way that takes less, which the receipt's
    warnings tell.
    """
    prepared = complete(prepared, engine=engine, progress=progress)
    return made(prepared, engine=engine, deliver=deliver, progress=progress)


def made(
    prepared: Prepared,
    *,
    engine: "Engine",
    deliver: Delivery,
    progress: Progress,
    attempts: Attempts[tuple[Plan, Clip, Encoded]] = tried_twice,
) -> Receipt:
    """A completed request's clip, delivered; `attempts` is what is tried where memory runs out."""
    progress.expect(expected_work(prepared.plan))
    weights = engine.components.rounded(prepared.plan.base.variant)

    def make(plan: Plan, decision: "Decision | None") -> tuple[Plan, Clip, Encoded]:
        clip = engine.run(plan, prepared.inputs, progress, decision)
        decoded = clip.frames
        with closing(decoded), progress.stage("decode+encode", clip.chunks):
            clip.frames = counted(decoded, progress)
            encoded = write_mp4(
                clip,
                deliver.path(plan),
                metadata=mp4_metadata(plan, weights),
                **engine.encoder_options,
            )
        return plan, clip, encoded

    (decided, clip, encoded), retold = attempts(engine, prepared.plan, progress, make)
    return Receipt(
        plan=decided,
        encoded=encoded,
        delivered=deliver.hand_over(encoded),
        timings=dict(progress.timings),
        generation_id=prepared.request.generation_id,
        matches=prepared.matches or {},
        weights=weights,
        warnings=(*prepared.told, *engine.run_warnings(decided), *retold, *clip.warnings),
    )
