"""A form to an order: every field judged, every default filled in, all problems at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.choice import CHOSEN, Row, choose, choose_shape, possible, refuse
from gateway.offer import request_size
from gateway.offer_view import ModeOffer, Offer, ResolutionOffer
from gateway.refusals import Problem, Problems
from gateway.webhooks.outgoing.post import target_refusal
from ltx2.errors import BadRequest, Ltx2Error
from ltx2.extent import Limits, PictureFacts
from ltx2.forms import shown
from ltx2.planner import plan
from ltx2.request import PICTURES, Request, asked_pictures

# The other names that a picture goes by.
ALIASES: Final[Mapping[str, str]] = {
    "image_uri": "image", "image_url": "image",
    "last_image_uri": "last_image", "last_image_url": "last_image", "last_frame_uri": "last_image",
}  # fmt: skip
# What a form takes beside a request's own fields.
OWN: Final = ("model", "webhook_url")
# Fields of a request that are decided here, and what to do instead.
NOT_OFFERED: Final[Mapping[str, str]] = {
    "width": "choose a resolution and an aspect_ratio",
    "height": "choose a resolution and an aspect_ratio",
    "num_frames": "choose a duration",
    "generation_id": "use the header Idempotency-Key",
    "keyframes": "give image and last_image",
}
FIELDS: Final = (
    *OWN,
    *(name for name in Request.model_fields if name not in NOT_OFFERED),
)
UPLOAD = "upload://"
PLACEHOLDER = "a prompt"  # of an estimate, whose form may have none
# The longest first, so that a sentence about image_strength is not taken for one about image.
_SPOKEN = sorted((*FIELDS, *NOT_OFFERED), key=len, reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What the worker will make, but for the shape of pictures that only it can read."""

    width: int  # pixels
    height: int
    fps: int
    num_frames: int
    notes: tuple[str, ...]  # what was moved or has no effect, in sentences

    @property
    def seconds(self) -> float:
        """The length of the file."""
        return self.num_frames / self.fps


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for, whole and possible. `form` is what is stored: it makes the same request
    at any time.
    """

    form: Mapping[str, Any]
    mode: ModeOffer
    resolution: ResolutionOffer
    actual: Actual
    options: tuple[str, ...]  # those with a surcharge
    webhook_url: str | None


def read_order(
    form: Mapping[str, object],
    offer: Offer,
    *,
    limits: Limits,
    pictures: Mapping[str, PictureFacts],
    seed: int,
    estimate: bool = False,
    private_webhooks: bool = False,
) -> Order:
    """Judge a form. `pictures` are the facts of the uploads, by their `upload://` address.

    `seed` is taken where the form has none. `private_webhooks` lets receivers be on this machine.
    Raises Problems with everything that is wrong.
    """
    given, problems = _spelled(form)
    if estimate and given.get("prompt") in (None, ""):
        given["prompt"] = PLACEHOLDER
    row = choose(given, offer, problems)
    problems += _picture_problems(given, pictures)
    problems += _webhook_problems(given, allow_private=private_webhooks)
    asked = {name: given.get(name) for name in PICTURES}
    facts = {
        name: pictures[value]
        for name, value in asked.items()
        if isinstance(value, str) and value in pictures
    }
    choose_shape(given, row, facts, problems)
    given.setdefault("seed", seed)
    request = _request(given, row, problems)
    if request is not None:
        missing = _offer_problems(request, row.mode, problems)
        problems += missing
        decided = _plan(_without(request, missing), row.model.id, limits, facts, problems)
        if decided is not None and not problems:
            return Order(
                form={name: given[name] for name in FIELDS if name in given},
                mode=row.mode,
                resolution=row.resolution,
                actual=decided,
                options=tuple(each for each in offer.surcharges if given.get(each) is True),
                webhook_url=given.get("webhook_url"),
            )
    raise Problems(_distinct(problems))


def worker_input(form: Mapping[str, Any], resolution: ResolutionOffer) -> dict[str, Any]:
    """The request that an order's form makes, as the worker takes it but for uploads."""
    fields = {name: value for name, value in form.items() if name not in OWN}
    name, shape = fields.pop("resolution", resolution.id), fields.pop("aspect_ratio", "auto")
    return {**fields, **request_size(name, resolution.sizes, shape)}


def _spelled(form: Mapping[str, object]) -> tuple[dict[str, Any], list[Problem]]:
    """The fields under their own names, without nulls, and what is wrong with the names."""
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in form.items():
        field = ALIASES.get(name, name)
        if name in NOT_OFFERED:
            if value is not None:
                told = f"{name} is not taken here; {NOT_OFFERED[name]}"
                problems.append(Problem(field=name, message=told))
        elif field not in FIELDS:
            told = f"unknown field {shown(name)}; accepted are {', '.join(FIELDS)}"
            problems.append(Problem(field=str(name)[:100], message=told))
        elif value is not None and field in given:
            told = f"{field} is given twice, under two of its names"
            problems.append(Problem(field=field, message=told))
        elif value is not None:
            given[field] = value
    return given, problems


def _picture_problems(
    given: Mapping[str, Any], pictures: Mapping[str, PictureFacts]
) -> list[Problem]:
    """Pictures come by https or as uploads: nothing else can be read, or should be."""
    problems: list[Problem] = []
    for name in PICTURES:
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, str) and value.startswith(UPLOAD):
            if value not in pictures:
                told = f"{name}: there is no upload {shown(value)}; it may be over, upload it again"
                problems.append(Problem(field=name, message=told))
        elif not isinstance(value, str) or not _https(value):
            told = f"{name} must be an https URL or the {UPLOAD}… address of an upload"
            problems.append(Problem(field=name, message=told))
    return problems


def _webhook_problems(given: Mapping[str, Any], *, allow_private: bool) -> list[Problem]:
    url = given.get("webhook_url")
    if url is None:
        return []
    if not isinstance(url, str):
        return [Problem(field="webhook_url", message="webhook_url must be an https URL")]
    told = target_refusal(url, allow_private=allow_private)
    return [Problem(field="webhook_url", message=f"webhook_url {told}")] if told else []


def _https(text: str) -> bool:
    if len(text) > 2048 or any(ord(char) <= 32 for char in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc


def _request(given: Mapping[str, Any], row: Row, problems: list[Problem]) -> Request | None:
    """The worker's request, judged by its own schema; None where nothing is left of it.

    What is refused, here or before, is left out, and what the rest says is judged all the same.
    Pictures stand for themselves.
    """
    refused = {problem.field for problem in problems}
    fields = {name: value for name, value in given.items() if name not in refused | set(CHOSEN)}
    fields |= {name: "https://picture.invalid/" for name in PICTURES if name in fields}
    fields = worker_input({**fields, **possible(row, given, refused)}, row.resolution)
    if "prompt" in refused:
        fields["prompt"] = PLACEHOLDER
    while True:
        try:
            return Request.parse(fields)
        except BadRequest as error:
            found = [_placed(sentence) for sentence in error.problems]
        problems += found
        faulty = {problem.field for problem in found}
        left = {name: value for name, value in fields.items() if name not in faulty}
        if "prompt" in faulty:
            left["prompt"] = PLACEHOLDER
        if left == fields:
            return None
        fields = left


def _placed(sentence: str) -> Problem:
    """A sentence of the request's, at the field that it begins with."""
    field = next((name for name in _SPOKEN if sentence.startswith(name)), None)
    return Problem(field=field, message=sentence)


def _offer_problems(request: Request, mode: ModeOffer, known: Sequence[Problem]) -> list[Problem]:
    """Fields that the schema takes and the deployed worker does not do."""
    can = mode.capabilities
    where = "here" if any(each.field == "mode" for each in known) else f"for {mode.mode} here"
    unavailable = {
        "last_image": request.last_image is not None and not can.last_frame,
        "image": request.image is not None and not can.i2v,
        "loras": bool(request.loras) and not can.loras,
        "detailer": request.detailer and not can.detailer,
        "spatial_upscaler": not request.spatial_upscaler and not can.spatial_upscaler,
        "temporal_upscaler": request.temporal_upscaler and not can.temporal_upscaler,
        "enhance_prompt": request.enhance_prompt and not can.enhance_prompt,
    }
    problems = [
        Problem(field=name, message=f"{name} is not available {where}")
        for name, is_missing in unavailable.items()
        if is_missing
    ]
    motion = request.camera_motion
    if motion != "none" and motion not in can.camera_motion:
        refuse(problems, "camera_motion", motion, ["none", *can.camera_motion], "here")
    if any(lora.source.startswith(("http://", "https://")) for lora in request.loras):
        told = "loras must be names of the catalogue or owner/name:file on the hub"
        problems.append(Problem(field="loras", message=told))
    return problems


def _without(request: Request, missing: Sequence[Problem]) -> Request:
    """The request but for what was refused of it, so that the planner says nothing twice."""
    fields = {each.field for each in missing if each.field is not None}
    return request.model_copy(
        update={name: Request.model_fields[name].get_default() for name in fields}
    )


def _plan(
    request: Request,
    model: str,
    limits: Limits,
    facts: Mapping[str, PictureFacts],
    problems: list[Problem],
) -> Actual | None:
    """What the worker's own planner makes of it; None, and why, where it would refuse."""
    asked = asked_pictures(request)
    known = {name: found for name, found in facts.items() if name in asked}
    try:
        decided = plan(request, checkpoint=model, limits=limits, pictures=known)
    except BadRequest as error:
        problems += [_placed(sentence) for sentence in error.problems]
        return None
    except Ltx2Error as error:
        problems.append(Problem(field=None, message=str(error)))
        return None
    snaps = [f"{each.name} {each.asked:g} becomes {each.used:g}" for each in decided.snaps]
    unread = any(name not in facts for name in asked)
    shape = ["the frame takes the picture's own shape"] if unread else []
    told = [text for text in decided.warnings if "was not read" not in text]
    return Actual(
        width=decided.width,
        height=decided.height,
        fps=decided.fps,
        num_frames=decided.num_frames,
        notes=(*snaps, *shape, *told),
    )


def _distinct(problems: Sequence[Problem]) -> list[Problem]:
    """One problem a field: the first says most."""
    found: dict[object, Problem] = {}
    for number, problem in enumerate(problems):
        found.setdefault(problem.field or number, problem)
    return list(found.values())
