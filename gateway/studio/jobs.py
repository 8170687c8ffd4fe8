"""A generation as the pages show it: every word and number decided, nothing left to a template."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never
from urllib.parse import quote

from gateway.credit_words import come_back, were_returned
from gateway.states import (
    Cancelled,
    Cancelling,
    Done,
    Failed,
    Generation,
    Output,
    Phase,
    Progress,
    Queued,
    Running,
    Submitted,
)
from gateway.studio import wording
from gateway.studio.guide import WORLD

# Headline and detail of what is asked about in vain.
_UNANSWERED = ("The worker does not answer", "It is asked again by itself. Nothing is lost.")
Tone = Literal["waiting", "running", "stopping", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseView:
    """A part of the track under the bar."""

    label: str
    state: Literal["past", "now", "next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoView:
    """A finished video and the addresses it has."""

    url: str
    poster: str
    file_name: str
    width: int
    height: int
    wide: bool  # fills the tile of a list
    facts: tuple[tuple[str, str], ...]  # of the file as it really is
    warnings: tuple[str, ...]
    prompt: str
    rewritten: bool  # another prompt than was typed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A generation in words. `live` is all that a page in the browser has to renew."""

    id: str
    page: str
    tone: Tone
    live: bool
    version: int
    headline: str
    detail: str
    percent: int | None  # None: nobody knows
    timing: str
    phases: tuple[PhaseView, ...]
    cost: str
    cancel_note: str
    can_cancel: bool
    badge: str
    prompt: str
    title: str
    favourite: bool
    created: str
    created_iso: str
    ago: str
    summary: str
    asked: tuple[tuple[str, str], ...]
    said: bool  # whether the title is not all that was said
    video: VideoView | None

    @property
    def line(self) -> str:
        """Its state in one line."""
        return self.headline if self.percent is None else f"{self.headline} · {self.percent}%"

    def live_part(self) -> dict[str, object]:
        """What changes while a page is open, in JSON types."""
        names = ("id", "tone", "live", "version", "headline", "detail", "percent", "timing", "line")
        part: dict[str, object] = {name: getattr(self, name) for name in names}
        part["phases"] = [phase.state for phase in self.phases]
        part["can_cancel"] = self.can_cancel
        part["cancel_note"] = self.cancel_note
        part["badge"] = self.badge
        return part


def job_view(
    job: Generation,
    now: datetime,
    cameras: dict[str, str],
    waiting: tuple[str, str] = WORLD.waiting,
    *,
    free: bool = False,
) -> JobView:
    """A generation as it is now. `cameras` has the titles of the moves, `waiting` what is said
    while the worker has not begun. Where all is `free`, nothing is said of credits.
    """
    prompt = str(job.form.get("prompt", ""))
    tone, headline, detail = _state(job, waiting, free=free)
    progress, began = _progress(job)
    title, video = _shortened(prompt), _video(job)
    return JobView(
        id=job.id,
        page=f"/g/{quote(job.id)}",
        tone=tone,
        live=not job.ended,
        version=job.version,
        headline=headline,
        detail=detail,
        percent=_percent(job, progress),
        timing=_timing(job, began, now),
        phases=_phases(job, progress),
        cost="" if free else wording.cost_words(job.credits, job.cost_state),
        cancel_note=_cancel_note(job, free=free),
        can_cancel=_can_cancel(job),
        badge=_badge(job),
        prompt=prompt,
        title=title,
        favourite=job.favourite,
        created=wording.moment(job.created_at),
        created_iso=job.created_at.isoformat(),
        ago=wording.ago(job.created_at, now),
        summary=_summary(job, cameras),
        asked=_asked(job, cameras),
        said=title != prompt or (video is not None and video.rewritten),
        video=video,
    )


def _state(job: Generation, waiting: tuple[str, str], *, free: bool) -> tuple[Tone, str, str]:
    """Tone, headline and the sentence under it."""
    match job.state:
        case Queued() | Submitted() if job.unanswered:
            return "waiting", *_UNANSWERED
        case Running() if job.unanswered:
            return "running", *_UNANSWERED
        case Queued(position=1):
            return "waiting", "Next in the queue", "It starts as soon as a worker is free."
        case Queued(position=position):
            return "waiting", f"Queued, number {position}", f"{position - 1} before it."
        case Submitted(position=position) if position is not None and position > 1:
            return "waiting", waiting[0], f"{position - 1} before it."
        case Submitted():
            return "waiting", *waiting
        case Running(progress=progress):
            return "running", wording.phase_words(progress), ""
        case Cancelling():
            return "stopping", "Stopping…", _stopping(job, free=free)
        case Done():
            return "done", "Done", ""
        case Failed(error=error, message=message):
            told = message.removesuffix(were_returned(job.credits)).rstrip() if free else message
            return "failed", wording.FAILURES[error], told
        case Cancelled():
            return "cancelled", "Cancelled", "" if free else were_returned(job.credits)
        case _:
            assert_never(job.state)


def _stopping(job: Generation, *, free: bool) -> str:
    """What becomes of what is being cancelled."""
    if free:
        told = "The video may still finish first."
    else:
        told = f"{come_back(job.credits)} unless the video finishes first."
    return f"{_UNANSWERED[0]} now. {told}" if job.unanswered else told


def _badge(job: Generation) -> str:
    """The state in a word or two, for a card."""
    if job.unanswered:
        return "No answer"
    match job.state:
        case Queued(position=position):
            return f"Queued · {position}"
        case Submitted():
            return "Waiting"
        case Running(progress=progress):
            return f"{progress.percent}%" if progress else "Starting"
        case Cancelling():
            return "Stopping…"
        case Done(output=output):
            return f"{wording.number_words(round(output.duration, 1))} s"
        case Failed(late=late):
            return "Failed" if late is None else "Came late"
        case Cancelled():
            return "Cancelled"
        case _:
            assert_never(job.state)


def _progress(job: Generation) -> tuple[Progress | None, datetime | None]:
    match job.state:
        case Running(since=since, progress=progress):
            return progress, since
        case Cancelling(began=began, progress=progress):
            return progress, began
        case _:
            return None, None


def _percent(job: Generation, progress: Progress | None) -> int | None:
    if isinstance(job.state, Done):
        return 100
    return progress.percent if progress else None


def _timing(job: Generation, began: datetime | None, now: datetime) -> str:
    """ "0:41 · about 30 s left"."""
    if job.ended:
        return ""
    elapsed = wording.clock((now - (began or job.created_at)).total_seconds())
    # A guess that has run out says nothing any more.
    if not job.eta_seconds or job.unanswered or isinstance(job.state, Cancelling):
        return elapsed
    return f"{elapsed} · {wording.roughly(job.eta_seconds)} left"


def _phases(job: Generation, progress: Progress | None) -> tuple[PhaseView, ...]:
    """The track of what is still to come; a single pass has nothing to refine."""
    names: list[Phase] = [
        name
        for name in wording.SHORT_PHASES
        if name != "refine"
        or job.form.get("spatial_upscaler", True)
        or (progress is not None and progress.phase == "refine")
    ]
    at = names.index(progress.phase) if progress else -1
    return tuple(
        PhaseView(
            label=wording.SHORT_PHASES[name],
            state="past" if number < at else "now" if number == at else "next",
        )
        for number, name in enumerate(names)
    )


def _can_cancel(job: Generation) -> bool:
    return not job.ended and not isinstance(job.state, Cancelling)


def _cancel_note(job: Generation, *, free: bool) -> str:
    """What a cancel brings back, as long as there can be one."""
    return f"{come_back(job.credits)} if you cancel." if _can_cancel(job) and not free else ""


def _shortened(prompt: str, most: int = 60) -> str:
    """The beginning of a prompt, cut between words."""
    words = " ".join(prompt.split())
    if len(words) <= most:
        return words or "Untitled"
    return words[:most].rsplit(" ", 1)[0].rstrip(".,;: ") + "…"


def _summary(job: Generation, cameras: dict[str, str]) -> str:
    """ "Fast · 720p · 5 s · Dolly in"."""
    form = job.form
    parts = [
        str(form.get("mode", "")).capitalize(),
        str(form.get("resolution", "")),
        f"{form['duration']} s" if form.get("duration") else "",
    ]
    camera = form.get("camera_motion", "none")
    if camera not in (None, "none"):
        parts.append(cameras.get(str(camera), str(camera)))
    return " · ".join(part for part in parts if part)


_YES = {True: "on", False: "off"}


def _asked(job: Generation, cameras: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What was asked for, in the order of the form."""
    form = job.form
    rows = [
        ("Model", form.get("model")),
        ("Mode", str(form.get("mode", "")).capitalize()),
        ("Resolution", form.get("resolution")),
        ("Shape", form.get("aspect_ratio")),
        ("Asked length", f"{form['duration']} s" if form.get("duration") else None),
        ("Camera", cameras.get(str(form.get("camera_motion") or "none"))),
        ("First frame", "yes" if form.get("image") else None),
        ("Last frame", "yes" if form.get("last_image") else None),
        ("Sound", _YES.get(form.get("generate_audio", True))),
        ("Two passes", _YES.get(form.get("spatial_upscaler", True))),
        ("Double frame rate", "on" if form.get("temporal_upscaler") else None),
        ("Detailer", "on" if form.get("detailer") else None),
        ("Steps", form.get("num_inference_steps")),
        ("Guidance", form.get("guidance_scale")),
        ("Avoid", form.get("negative_prompt")),
    ]
    return tuple((label, str(value)) for label, value in rows if value not in (None, ""))


def _video(job: Generation) -> VideoView | None:
    output = job.output
    if output is None:
        return None
    content = f"/api/generations/{quote(job.id)}/content"
    return VideoView(
        url=content,
        poster=f"{content}?variant=thumbnail",
        file_name=f"ltx2-{job.id}.mp4",
        width=output.width,
        height=output.height,
        wide=1.5 <= output.width / output.height <= 2,
        facts=_facts(job, output),
        warnings=output.warnings,
        prompt=output.prompt,
        rewritten=output.prompt.strip() != str(job.form.get("prompt", "")).strip(),
    )


def _facts(job: Generation, output: Output) -> tuple[tuple[str, str], ...]:
    rows = [
        ("Size", f"{output.width} × {output.height}"),
        ("Length", f"{wording.number_words(output.duration)} s"),
        ("Frames", f"{output.num_frames} at {wording.number_words(output.fps)} fps"),
        ("Sound", "Yes" if output.has_audio else "None"),
        ("Seed", str(output.seed)),
        ("File", wording.size_words(output.bytes)),
    ]
    if job.execution_ms is not None:
        rows.append(("Made in", wording.took(job.execution_ms / 1000)))
    return tuple(rows)
