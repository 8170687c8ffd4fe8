"""The form as a browser fills it in: strings by name, to and from a request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.desk import Form
from gateway.offer_view import ModeOffer, Offer
from gateway.refusals import Problem
from gateway.studio.labels import LABELS, spoken

TEXTS = ("prompt", "negative_prompt")
PICTURES = ("image", "last_image")
CHOICES = ("model", "mode", "resolution", "aspect_ratio", "camera_motion")
WHOLE = ("duration", "fps", "num_inference_steps", "seed")
DECIMAL = ("guidance_scale",)
SWITCHES = (
    "generate_audio",
    "spatial_upscaler",
    "temporal_upscaler",
    "detailer",
    "enhance_prompt",
)
FIELDS = (*TEXTS, *PICTURES, *CHOICES, *WHOLE, *DECIMAL, *SWITCHES)
# What the field of a switch that a mode lacks is called in `Capabilities`.
_CAPABILITY = {"generate_audio": "audio"}
_ON_AT_FIRST = ("generate_audio", "spatial_upscaler")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form shows. A switch is on where its value is "on"."""

    values: Mapping[str, str]
    problems: Mapping[str, str] = field(default_factory=dict[str, str])  # by field; "" is the form

    def value(self, name: str) -> str:
        """What the field shows."""
        return self.values.get(name, "")

    def on(self, name: str) -> bool:
        """Whether the switch is on."""
        return self.values.get(name) == "on"


def fresh(offer: Offer) -> Draft:
    """The form as it is first seen."""
    default = offer.default
    values = {
        "model": default.model,
        "mode": default.mode,
        "resolution": default.resolution,
        "aspect_ratio": "auto",
        "duration": str(default.duration),
        "fps": str(default.fps),
        "camera_motion": "none",
    }
    row = _mode(offer, values)
    if row is not None:
        values |= {name: "on" for name in _ON_AT_FIRST if can(row, name)}
    return Draft(values)


def again(offer: Offer, form: Form, *, keep_seed: bool) -> Draft:
    """The form with the settings of an earlier request."""
    values = dict(fresh(offer).values)
    for name in FIELDS:
        asked = form.get(name)
        if asked is None:
            continue  # what was left out was made as the form begins
        if name in SWITCHES:
            values[name] = "on" if asked is True else ""
        else:
            values[name] = _written(asked)
    row = _mode(offer, values)
    for name in SWITCHES:
        if row is not None and not can(row, name) and form.get(name) is None:
            values.pop(name, None)
    if not keep_seed:
        values.pop("seed", None)
    return Draft(values)


def filled(posted: Mapping[str, str]) -> Draft:
    """The form as it was sent. Line ends are those of text files, whatever the browser sends."""
    return Draft(
        {
            name: posted[name].replace("\r\n", "\n").strip()
            for name in FIELDS
            if posted.get(name, "").strip()
        }
    )


def request_of(draft: Draft, offer: Offer) -> tuple[dict[str, object], list[Problem]]:
    """The request in JSON types, and which fields hold no value of their type.

    An empty field is left out. A switch that is off is left out where the mode has no such thing,
    since the field itself would be refused.
    """
    form: dict[str, object] = {}
    problems: list[Problem] = []
    for name in (*TEXTS, *PICTURES, *CHOICES):
        if draft.value(name):
            form[name] = draft.value(name)
    for name in (*WHOLE, *DECIMAL):
        text = draft.value(name)
        if not text:
            continue
        whole = name in WHOLE
        if not _NUMBER.fullmatch(text) or (whole and "." in text):
            kind = "a whole number" if whole else "a number such as 3.5"
            told = f"{LABELS[name]} must be {kind}; {text!r} is none."
            problems.append(Problem(field=name, message=told))
        else:
            form[name] = int(text) if whole else float(text)
    row = _mode(offer, draft.values)
    for name in SWITCHES:
        if draft.on(name) or (row is not None and can(row, name)):
            form[name] = draft.on(name)
    return form, problems


def with_problems(draft: Draft, problems: list[Problem] | tuple[Problem, ...]) -> Draft:
    """The form with what is wrong written to its fields; what belongs to none, to the form."""
    told: dict[str, str] = {}
    for problem in problems:
        name = problem.field if problem.field in FIELDS else ""
        message = spoken(problem.message)
        told[name] = f"{told[name]} {message}" if name in told else message
    return Draft(draft.values, told)


def can(row: ModeOffer, name: str) -> bool:
    """Whether the mode has what a switch turns on."""
    return bool(getattr(row.capabilities, _CAPABILITY.get(name, name)))


def _mode(offer: Offer, values: Mapping[str, str]) -> ModeOffer | None:
    model = offer.model(values.get("model", offer.default.model))
    return model.mode(values.get("mode", offer.default.mode)) if model else None


def _written(value: object) -> str:
    """A JSON value as a field shows it: 3.0 is 3."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
