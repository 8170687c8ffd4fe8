"""From the desk's plain data to what the API answers."""

from datetime import datetime
from typing import assert_never

from gateway.api import bodies
from gateway.credit_words import come_back, were_returned
from gateway.desk import Credits, LedgerEntry, Page, Quote, Upload
from gateway.offer_view import ModelOffer, Offer, ResolutionOffer
from gateway.states import (
    Cancelled,
    Cancelling,
    Done,
    Failed,
    Generation,
    Output,
    Progress,
    Queued,
    Running,
    Submitted,
)


def models(offer: Offer) -> bodies.ModelsBody:
    """The capability matrix and the price table."""
    default = offer.default
    return bodies.ModelsBody(
        price_version=offer.price_version,
        credit_usd=offer.credit_usd,
        default=bodies.DefaultsBody(
            model=default.model,
            mode=default.mode,
            resolution=default.resolution,
            aspect_ratio=default.aspect_ratio,
            duration=default.duration,
            fps=default.fps,
        ),
        surcharges=dict(offer.surcharges),
        max_prompt=offer.max_prompt,
        max_upload_bytes=offer.max_upload_bytes,
        upload_types=list(offer.upload_types),
        models=[_model(each) for each in offer.models],
    )


def _model(model: ModelOffer) -> bodies.ModelBody:
    return bodies.ModelBody(
        id=model.id,
        embedded=model.embedded,
        modes=[
            bodies.ModeBody(
                mode=mode.mode,
                label=mode.label,
                note=mode.note,
                steps=mode.steps,
                refine_steps=mode.refine_steps,
                capabilities=bodies.CapabilitiesBody.model_validate(
                    mode.capabilities, from_attributes=True
                ),
                resolutions=[_resolution(each) for each in mode.resolutions],
            )
            for mode in model.modes
        ],
    )


def _resolution(row: ResolutionOffer) -> bodies.ResolutionBody:
    return bodies.ResolutionBody(
        id=row.id,
        sizes=dict(row.sizes),
        fps_durations={str(fps): list(seconds) for fps, seconds in row.fps_durations.items()},
        credits_per_second=row.credits_per_second,
    )


def estimate(quote: Quote) -> bodies.EstimateBody:
    """A price."""
    return bodies.EstimateBody(
        credits=quote.credits,
        usd=quote.usd,
        price_version=quote.price_version,
        breakdown=bodies.BreakdownBody(
            mode=quote.mode,
            resolution=quote.resolution,
            duration=quote.duration,
            credits_per_second=quote.credits_per_second,
            lines=[
                bodies.PriceLineBody(label=line.label, credits=line.credits)
                for line in quote.breakdown
            ],
        ),
        actual=bodies.ActualBody(
            width=quote.width,
            height=quote.height,
            fps=quote.fps,
            num_frames=quote.num_frames,
            seconds=quote.seconds,
        ),
        available=quote.available,
        available_after=quote.available_after,
        sufficient=quote.sufficient,
        notes=list(quote.notes),
    )


def generation(given: Generation, *, message: str | None = None) -> bodies.GenerationBody:
    """A generation. The same whoever asks: routes, events, webhooks."""
    own = f"/api/generations/{given.id}"
    output = given.output
    return bodies.GenerationBody(
        id=given.id,
        status=given.status,
        cancel_requested=isinstance(given.state, Cancelling),
        favourite=given.favourite,
        progress=progress(given),
        request=dict(given.form),
        output=None if output is None else _output(output, own),
        error=_failure(given),
        cost=bodies.CostBody(
            credits=given.credits, state=given.cost_state, price_version=given.price_version
        ),
        timing=(
            bodies.TimingBody(queue_ms=given.queue_ms, execution_ms=given.execution_ms)
            if given.ended
            else None
        ),
        created_at=given.created_at,
        started_at=_began(given),
        completed_at=_ended(given),
        urls=bodies.UrlsBody(
            self=own,
            events=f"{own}/events",
            cancel=f"{own}/cancel",
            content=None if output is None else f"{own}/content",
            page=f"/g/{given.id}",
        ),
        message=message,
    )


def progress(given: Generation) -> bodies.ProgressBody | None:
    """How far it is; None where it ended without a video."""
    match given.state:
        case Queued(position=position):
            return bodies.ProgressBody(
                seq=given.version,
                phase="queued",
                percent=0,
                queue_position=position,
                eta_seconds=given.eta_seconds,
            )
        case Submitted(position=position):
            return bodies.ProgressBody(
                seq=given.version,
                phase="waiting",
                percent=0,
                queue_position=position,
                eta_seconds=given.eta_seconds,
            )
        case Running(progress=reported):
            return _reported(given, reported, "loading")
        case Cancelling(progress=reported, began=began):
            return _reported(given, reported, "waiting" if began is None else "loading")
        case Done():
            return bodies.ProgressBody(seq=given.version, phase="done", percent=100)
        case Failed() | Cancelled():
            return None
        case _:
            assert_never(given.state)


def _reported(
    given: Generation, reported: Progress | None, before: bodies.PhaseWord
) -> bodies.ProgressBody:
    if reported is None:
        return bodies.ProgressBody(
            seq=given.version, phase=before, percent=0, eta_seconds=given.eta_seconds
        )
    return bodies.ProgressBody(
        seq=given.version,
        phase=reported.phase,
        step=reported.step,
        steps=reported.steps,
        percent=reported.percent,
        eta_seconds=given.eta_seconds,
    )


def _output(output: Output, own: str) -> bodies.OutputBody:
    return bodies.OutputBody(
        url=f"{own}/content",
        thumbnail_url=f"{own}/content?variant=thumbnail",
        content_type=output.content_type,
        width=output.width,
        height=output.height,
        fps=output.fps,
        num_frames=output.num_frames,
        duration=output.duration,
        has_audio=output.has_audio,
        seed=output.seed,
        prompt=output.prompt,
        bytes=output.bytes,
        sha256=output.sha256,
        warnings=list(output.warnings),
    )


def _failure(given: Generation) -> bodies.FailureBody | None:
    match given.state:
        case Failed(error=error, message=message):
            return bodies.FailureBody(type=error, message=message)
        case _:
            return None


def _began(given: Generation) -> datetime | None:
    match given.state:
        case Queued() | Submitted():
            return None
        case Running(since=began):
            return began
        case Cancelling(began=began) | Done(began=began) | Failed(began=began):
            return began
        case Cancelled(began=began):
            return began
        case _:
            assert_never(given.state)


def _ended(given: Generation) -> datetime | None:
    match given.state:
        case Done(at=at) | Failed(at=at) | Cancelled(at=at):
            return at
        case _:
            return None


def page(given: Page) -> bodies.GenerationsBody:
    """Some generations."""
    return bodies.GenerationsBody(
        data=[generation(each) for each in given.items],
        next_cursor=given.next_cursor,
        has_more=given.next_cursor is not None,
    )


def credits(given: Credits) -> bodies.CreditsBody:
    """Balance and entries."""
    return bodies.CreditsBody(
        available=given.available,
        held=given.held,
        credit_usd=given.credit_usd,
        entries=[_entry(each) for each in given.entries],
        next_cursor=given.next_cursor,
    )


def ledger(given: Credits) -> bodies.LedgerBody:
    """The entries alone."""
    return bodies.LedgerBody(
        data=[_entry(each) for each in given.entries],
        next_cursor=given.next_cursor,
        has_more=given.next_cursor is not None,
    )


def _entry(entry: LedgerEntry) -> bodies.EntryBody:
    return bodies.EntryBody.model_validate(entry, from_attributes=True)


def upload(given: Upload) -> bodies.UploadBody:
    """A picture that was taken."""
    return bodies.UploadBody(
        id=given.id,
        uri=given.uri,
        content_type=given.content_type,
        width=given.width,
        height=given.height,
        bytes=given.bytes,
        expires_at=given.expires_at,
    )


def cancel_message(given: Generation) -> str | None:
    """What became of a cancel, in a sentence with the credits."""
    match given.state:
        case Cancelling():
            return f"Stopping. {come_back(given.credits)} unless the video finishes first."
        case Cancelled():
            return f"Stopped. {were_returned(given.credits)}"
        case Done():
            return "It had finished before: the video is yours and was paid for."
        case _:
            return None
