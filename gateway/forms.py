"""A form to an order: every field judged, every default filled in, all problems at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.offer import request_size
from gateway.offer_view import ModeOffer, Offer, ResolutionOffer
from gateway.refusals import Problem, Problems
from gateway.webhooks.outgoing.post import target_refusal
from ltx2.errors import BadRequest, Ltx2Error
from ltx2.extent import Limits, PictureFacts
from ltx2.forms import shown
from ltx2.planner import plan
from ltx2.request import PICTURES, RESOLUTIONS, Request, asked_pictures

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
    mode, resolution = _choice(given, offer, problems)
    problems += _picture_problems(given, pictures)
    problems += _webhook_problems(given, allow_private=private_webhooks)
    asked = {name: given.get(name) for name in PICTURES}
    facts = {
        name: pictures[value]
        for name, value in asked.items()
        if isinstance(value, str) and value in pictures
    }
    if mode is not None and resolution is not None:
        problems += _shape(given, resolution, facts)
    given.setdefault("seed", seed)
    request = _request(given, resolution, problems)
    if mode is not None and resolution is not None and request is not None:
        problems += _offer_problems(request, mode)
    if problems or mode is None or resolution is None or request is None:
        raise Problems(_distinct(problems))
    return Order(
        form={name: given[name] for name in FIELDS if name in given},
        mode=mode,
        resolution=resolution,
        actual=_plan(request, str(given["model"]), limits, facts),
        options=tuple(each for each in offer.surcharges if given.get(each) is True),
        webhook_url=given.get("webhook_url"),
    )


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


def _choice(
    given: dict[str, Any], offer: Offer, problems: list[Problem]
) -> tuple[ModeOffer | None, ResolutionOffer | None]:
    """The rows of the offer that a form is of; what it leaves out is filled in."""
    default = offer.default
    given.setdefault("model", default.model)
    given.setdefault("fps", default.fps)
    model = offer.model(given["model"]) if isinstance(given["model"], str) else None
    if model is None:
        _refuse(problems, "model", given["model"], [each.id for each in offer.models], "here")
        return None, None
    given.setdefault("mode", default.mode if model.mode(default.mode) else model.modes[0].mode)
    mode = model.mode(given["mode"]) if isinstance(given["mode"], str) else None
    if mode is None:
        modes = [each.mode for each in model.modes]
        _refuse(problems, "mode", given["mode"], modes, f"for {model.id}")
        return None, None
    names = [each.id for each in mode.resolutions]
    given.setdefault("resolution", default.resolution if default.resolution in names else names[0])
    wanted = given["resolution"]
    resolution = mode.resolution(wanted) if isinstance(wanted, str) else None
    if resolution is None:
        _refuse(problems, "resolution", wanted, names, f"for {mode.mode}")
        return mode, None
    lengths = resolution.fps_durations.get(given["fps"]) if _whole(given["fps"]) else None
    if lengths is None:
        where = f"for {mode.mode} at {resolution.id}"
        _refuse(problems, "fps", given["fps"], list(resolution.fps_durations), where)
        return mode, resolution
    usual = min(lengths, key=lambda each: abs(each - default.duration))
    seconds = given.setdefault("duration", usual)
    if isinstance(seconds, float) and seconds.is_integer():
        seconds = given["duration"] = int(seconds)
    if not _whole(seconds) or seconds not in lengths:
        where = f"for {mode.mode} at {resolution.id}"
        _refuse(problems, "duration", seconds, list(lengths), where)
    return mode, resolution


def _shape(
    given: dict[str, Any], resolution: ResolutionOffer, facts: Mapping[str, PictureFacts]
) -> list[Problem]:
    """The frame's shape: as asked, or the picture's where the worker knows the resolution by name.

    A resolution that it does not know is asked for in pixels, so its shape is decided here.
    """
    shape = given.setdefault("aspect_ratio", "auto")
    problems: list[Problem] = []
    if shape not in ("auto", *resolution.sizes):
        where = f"at {resolution.id}"
        _refuse(problems, "aspect_ratio", shape, ["auto", *resolution.sizes], where)
    elif shape == "auto" and resolution.id not in RESOLUTIONS:
        picture = next(iter(facts.values()), None)
        if picture is not None:  # else it is 16:9 there, and stays what was asked for
            given["aspect_ratio"] = nearest_shape(resolution, picture.width, picture.height)
    return problems


def nearest_shape(resolution: ResolutionOffer, width: int, height: int) -> str:
    """The aspect ratio of the offer that is nearest to a frame's."""

    def distance(shape: str) -> float:
        wide, high = resolution.sizes[shape]
        return abs(math.log(wide / high * height / width))

    return min(resolution.sizes, key=distance)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(
    problems: list[Problem],
    field: str,
    value: object,
    allowed: Sequence[str | int],
    where: str,
) -> None:
    choices = ", ".join(map(str, allowed))
    told = f"{field} {shown(value)} is not available {where}; choose one of {choices}"
    problems.append(Problem(field=field, message=told, allowed=tuple(allowed)))


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


def _request(
    given: Mapping[str, Any], resolution: ResolutionOffer | None, problems: list[Problem]
) -> Request | None:
    """The worker's request, judged by its own schema; None where that finds faults.

    What was refused already is left out, and pictures stand for themselves.
    """
    told = {problem.field for problem in problems}
    fields = {name: value for name, value in given.items() if name not in told}
    fields |= {name: "https://picture.invalid/" for name in PICTURES if name in fields}
    if resolution is not None and not told & {"resolution", "aspect_ratio"}:
        fields = worker_input(fields, resolution)
    else:
        left_out = (*OWN, "resolution", "aspect_ratio")
        fields = {name: value for name, value in fields.items() if name not in left_out}
    try:
        return Request.parse(fields)
    except BadRequest as error:
        problems += [_placed(sentence) for sentence in error.problems]
        return None


def _placed(sentence: str) -> Problem:
    """A sentence of the request's, at the field that it begins with."""
    field = next((name for name in _SPOKEN if sentence.startswith(name)), None)
    return Problem(field=field, message=sentence)


def _offer_problems(request: Request, mode: ModeOffer) -> list[Problem]:
    """Fields that the schema takes and the deployed worker does not do."""
    can = mode.capabilities
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
        Problem(field=name, message=f"{name} is not available for {mode.mode} here")
        for name, is_missing in unavailable.items()
        if is_missing
    ]
    motion = request.camera_motion
    if motion != "none" and motion not in can.camera_motion:
        _refuse(problems, "camera_motion", motion, ["none", *can.camera_motion], "here")
    if any(lora.source.startswith(("http://", "https://")) for lora in request.loras):
        told = "loras must be names of the catalogue or owner/name:file on the hub"
        problems.append(Problem(field="loras", message=told))
    return problems


def _plan(
    request: Request, model: str, limits: Limits, facts: Mapping[str, PictureFacts]
) -> Actual:
    """What the worker's own planner makes of it. Raises Problems where it would refuse."""
    try:
        decided = plan(request, checkpoint=model, limits=limits, pictures=facts)
    except BadRequest as error:
        raise Problems([_placed(sentence) for sentence in error.problems]) from error
    except Ltx2Error as error:
        raise Problems([Problem(field=None, message=str(error))]) from error
    snaps = [f"{each.name} {each.asked:g} becomes {each.used:g}" for each in decided.snaps]
    unread = any(name not in facts for name in asked_pictures(request))
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
