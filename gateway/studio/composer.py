"""The form of the studio: what it offers, as a template reads it, with the price on its button."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

from gateway.desk import Page, Quote
from gateway.offer_view import ModeOffer, Offer, ResolutionOffer
from gateway.states import Done
from gateway.studio import wording
from gateway.studio.draft import SWITCHES, Draft, can
from gateway.studio.guide import Guide, guide
from gateway.studio.labels import LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A value to choose. The script rules out those that do not go with the others."""

    value: str
    label: str
    chosen: bool
    note: str = ""
    lately: str = ""  # how long it took lately


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Something to turn on, with what it does and costs."""

    name: str
    label: str
    note: str
    price: str
    on: bool
    only: str  # which modes have it; "" where all do


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """The price on the button, and the lines around it."""

    label: str
    credits: int | None  # None: no price for what the form says
    after: str
    makes: str
    enough: bool
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The same in JSON types."""
        return {
            "label": self.label,
            "credits": self.credits,
            "after": self.after,
            "makes": self.makes,
            "enough": self.enough,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Composer:
    """Everything of the form but the draft's own texts."""

    models: tuple[Choice, ...]
    modes: tuple[Choice, ...]
    resolutions: tuple[Choice, ...]
    shapes: tuple[Choice, ...]
    durations: tuple[Choice, ...]
    rates: tuple[Choice, ...]
    cameras: tuple[Choice, ...]
    switches: tuple[Switch, ...]
    guided: bool  # whether any mode has guidance, steps and a negative prompt
    guided_only: str  # which modes; "" where all do
    last_frame: bool
    pictures: bool
    enhance: bool
    max_prompt: int
    max_upload: str
    max_upload_bytes: int
    upload_types: str
    steps: int
    guide: Guide
    matrix: Mapping[str, object]  # what the script needs to rule out the same combinations


_SWITCH_NOTES = {
    "spatial_upscaler": "Composes small, then refines: quicker than one full pass.",
    "temporal_upscaler": "Twice the frames for smoother motion; takes longer.",
    "detailer": "One more pass for texture and fine lines; takes longer.",
}


def composer(
    offer: Offer, draft: Draft, usual: Mapping[str, float], *, free: bool = False
) -> Composer:
    """The form for a draft. `usual` has the seconds that a mode took lately; where all is `free`,
    nothing has a price.
    """
    model = offer.model(draft.value("model")) or offer.models[0]
    mode = model.mode(draft.value("mode")) or model.modes[0]
    size = mode.resolution(draft.value("resolution")) or mode.resolutions[0]
    words = guide(embedded=model.embedded)
    rate = draft.value("fps") or str(offer.default.fps)
    # All that any choice of the others allows: the script rules out what the present one does not.
    modes = {each.mode: each for row in (*offer.models, model) for each in row.modes}
    sizes = [each for row in offer.models for way in row.modes for each in way.resolutions]
    return Composer(
        models=tuple(_chosen(each.id, each.id, model.id) for each in offer.models),
        modes=tuple(
            Choice(
                value=each.mode,
                label=each.label,
                chosen=each.mode == mode.mode,
                note=each.note[:1].upper() + each.note[1:],
                lately=f"Lately {wording.roughly(usual[each.mode])}" if each.mode in usual else "",
            )
            for each in modes.values()
        ),
        resolutions=tuple(
            Choice(
                value=name,
                label=name,
                chosen=name == size.id,
                note="" if free else _rate_note(mode, name),
            )
            for name in _in_order(each.id for each in sizes)
        ),
        shapes=tuple(
            _chosen(name, "Auto" if name == "auto" else name, draft.value("aspect_ratio"))
            for name in _in_order(["auto", *(name for each in sizes for name in each.sizes)])
        ),
        durations=tuple(
            _chosen(str(seconds), str(seconds), draft.value("duration"))
            for seconds in sorted(
                {s for row in sizes for each in row.fps_durations.values() for s in each}
            )
        ),
        rates=tuple(
            _chosen(str(each), f"{each} fps", rate)
            for each in sorted({fps for row in sizes for fps in row.fps_durations})
        ),
        cameras=tuple(
            Choice(
                value=move.name,
                label=move.title,
                chosen=move.name == (draft.value("camera_motion") or "none"),
                note=_only(
                    model.modes,
                    [
                        move.name in ("none", *each.capabilities.camera_motion)
                        for each in model.modes
                    ],
                ),
            )
            for move in offer.cameras
        ),
        switches=tuple(
            Switch(
                name=name,
                label=LABELS[name],
                note=_note(name, words),
                price="" if free else _surcharge(offer, name),
                on=draft.on(name) and can(mode, name),
                only=_only(model.modes, [can(each, name) for each in model.modes]),
            )
            for name in SWITCHES
            if any(can(each, name) for each in model.modes)
        ),
        guided=any(each.capabilities.guidance for each in model.modes),
        guided_only=_only(model.modes, [each.capabilities.guidance for each in model.modes]),
        last_frame=any(each.capabilities.last_frame for each in model.modes),
        pictures=any(each.capabilities.i2v for each in model.modes),
        enhance=any(each.capabilities.enhance_prompt for each in model.modes),
        max_prompt=offer.max_prompt,
        max_upload=wording.size_words(offer.max_upload_bytes),
        max_upload_bytes=offer.max_upload_bytes,
        upload_types=",".join(offer.upload_types),
        steps=mode.steps,
        guide=words,
        matrix=_matrix(offer),
    )


_DOES = "Generate"
FREE = "Free on this machine"


def button(quote: Quote | None, available: int, *, free: bool = False) -> Button:
    """What the button says; without a quote, or where all is `free`, only what it does."""
    if quote is None:
        return Button(
            label=_DOES,
            credits=None,
            after=FREE if free else f"{wording.amount_words(available)} available",
            makes="",
            enough=True,
            notes=(),
        )
    makes = f"{quote.width} × {quote.height} · {quote.seconds:.1f} s · {quote.fps} fps"
    if free:
        return Button(
            label=_DOES,
            credits=quote.credits,
            after=FREE,
            makes=makes,
            enough=True,
            notes=quote.notes,
        )
    if quote.sufficient:
        after = f"{wording.amount_words(quote.available_after)} left afterwards"
    else:
        missing = wording.credit_words(-quote.available_after)
        after = f"{missing} short: you have {quote.available:,}"
    return Button(
        label=f"{_DOES} · {wording.credit_words(quote.credits)}",
        credits=quote.credits,
        after=after,
        makes=f"{makes} · ${quote.usd}",
        enough=quote.sufficient,
        notes=quote.notes,
    )


def usual_seconds(page: Page) -> dict[str, float]:
    """How long the modes took lately, by mode: the median of what a page of them says."""
    seen: dict[str, list[float]] = {}
    for job in page.items:
        if isinstance(job.state, Done) and job.execution_ms is not None:
            seen.setdefault(str(job.form.get("mode")), []).append(job.execution_ms / 1000)
    return {mode: median(seconds) for mode, seconds in seen.items()}


def _surcharge(offer: Offer, switch: str) -> str:
    return f"+{offer.surcharges[switch]}%" if offer.surcharges.get(switch) else ""


def _note(switch: str, words: Guide) -> str:
    own = {"generate_audio": words.sound, "enhance_prompt": words.enrich}
    return own.get(switch) or _SWITCH_NOTES[switch]


def _chosen(value: str, label: str, chosen: str) -> Choice:
    return Choice(value=value, label=label, chosen=value == chosen)


def _rate_note(mode: ModeOffer, resolution: str) -> str:
    row = mode.resolution(resolution)
    return f"{row.credits_per_second}/s" if row else ""


def _only(modes: tuple[ModeOffer, ...], able: Sequence[bool]) -> str:
    """Which modes have something, in words; nothing where all do."""
    if all(able):
        return ""
    names = [mode.label for mode, has in zip(modes, able, strict=True) if has]
    return f"Only in {' or '.join(names)}" if names else "Not with this model"


def _lengths(size: ResolutionOffer) -> Iterable[int]:
    return chain.from_iterable(size.fps_durations.values())


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _matrix(offer: Offer) -> dict[str, object]:
    """Which values go together: by model and mode, in JSON types."""
    return {
        model.id: {
            mode.mode: {
                "label": mode.label,
                "steps": mode.steps,
                "guidance": mode.capabilities.guidance,
                "last_frame": mode.capabilities.last_frame,
                "pictures": mode.capabilities.i2v,
                "cameras": ["none", *mode.capabilities.camera_motion],
                "switches": {name: can(mode, name) for name in SWITCHES},
                "resolutions": {
                    size.id: {
                        "rate": size.credits_per_second,
                        "shapes": ["auto", *size.sizes],
                        "durations": {
                            str(rate): list(each) for rate, each in size.fps_durations.items()
                        },
                    }
                    for size in mode.resolutions
                },
            }
            for mode in model.modes
        }
        for model in offer.models
    }
