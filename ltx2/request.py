"""The request: what a caller may ask for. Types, bounds, a sentence per field. No torch."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ltx2.errors import BadRequest
from ltx2.forms import SCHEME, lora_refusal, path_text, picture_form, shown
from ltx2.named_files import NamedFiles, anchored

Resolution = Literal["540p", "720p", "1080p"]
AspectRatio = Literal["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "auto"]
CameraMotion = Literal[
    "none", "dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static"
]
PictureName = Literal["image", "last_image"]

RESOLUTIONS: Final[tuple[str, ...]] = get_args(Resolution)
ASPECT_RATIOS: Final[tuple[str, ...]] = get_args(AspectRatio)
CAMERA_MOTIONS: Final[tuple[str, ...]] = get_args(CameraMotion)

MIN_EDGE, MAX_EDGE = 64, 4096  # pixels; 64 is one latent cell of the half-size pass
MAX_SECONDS = 20  # the model's time positions end here
MAX_FRAMES = 60 * MAX_SECONDS + 1  # at the highest frame rate
# Of one kind that are told one by one: a request of a million unknown fields is not worth a million
# sentences, which nobody could send back.
MOST_TOLD = 20

# Other spellings of a picture: the suffix says what the value must be, the field takes any of them.
PICTURES: Final[Mapping[PictureName, tuple[str, ...]]] = {
    "image": ("image_url", "image_base64", "image_path"),
    "last_image": ("last_image_url", "last_image_base64", "last_image_path"),
}
_SPELLINGS = [spelling for spellings in PICTURES.values() for spelling in spellings]

PRO_ONLY: Final = (
    "num_inference_steps",
    "guidance_scale",
    "stg_scale",
    "modality_scale",
    "guidance_rescale",
    "audio_guidance_scale",
    "audio_stg_scale",
    "audio_modality_scale",
    "audio_guidance_rescale",
)

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # all but tab and line ends


def _printable(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"must not contain control characters (found U+{ord(found[0]):04X})")
    return text


def _lora_source(text: str) -> str:
    if problem := lora_refusal(text):
        raise ValueError(problem)
    return text


def _distinct(loras: "tuple[Lora, ...]") -> "tuple[Lora, ...]":
    """Refuse a source that is given twice for one pass: which strength holds would be a guess."""
    seen: set[tuple[str, str]] = set()
    for lora in loras:
        passes = ("base", "refine") if lora.stages == "both" else (lora.stages,)
        if seen.intersection((lora.source, name) for name in passes):
            raise ValueError(
                f"must name each source once per pass; {shown(lora.source)} is given twice"
            )
        seen.update((lora.source, name) for name in passes)
    return loras


Prompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000),
    AfterValidator(_printable),
]
Negative = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=10_000),
    AfterValidator(_printable),
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Source = Annotated[
    str, BeforeValidator(path_text), Field(max_length=2048), AfterValidator(_lora_source)
]
Picture = Annotated[str, BeforeValidator(path_text), Field(min_length=1)]
Edge = Annotated[int, Field(ge=MIN_EDGE, le=MAX_EDGE)]
Strength = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=0, le=20)]
Perturbation = Annotated[float, Field(ge=0, le=10)]

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Lora(BaseModel):
    """A LoRA and how strongly it acts in which pass."""

    model_config = _STRICT

    source: Source = Field(
        description="A catalogue id, an http(s) URL, owner/name:file.safetensors on the hub, or "
        "from the command line and Python a .safetensors file."
    )
    strength: Annotated[float, Field(ge=-4, le=4)] = Field(
        1.0, description="Scales the LoRA; 0 leaves it out."
    )
    stages: Literal["both", "base", "refine"] = Field("both", description="The passes it acts in.")


class Keyframe(BaseModel):
    """A picture at a moment of the clip."""

    model_config = _STRICT

    image: Picture = Field(description="The picture, given as `image` is.")
    frame: Annotated[int, Field(ge=0, le=MAX_FRAMES - 1)] | None = Field(
        None, description="The frame that shows it, counted from 0 at the asked frame rate."
    )
    second: Annotated[float, Field(ge=0, le=MAX_SECONDS)] | None = Field(
        None, description="The same as a time; the nearest frame is taken."
    )
    strength: Strength = Field(1.0, description="How firmly it is kept; 0 ignores it.")

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if (self.frame is None) == (self.second is None):
            raise ValueError("must name its moment once, as frame or as second")
        return self


Loras = Annotated[tuple[Lora, ...], Field(max_length=4, strict=False), AfterValidator(_distinct)]
Keyframes = Annotated[tuple[Keyframe, ...], Field(max_length=8, strict=False)]
# Fields that hold a list of objects.
NESTED: Final[Mapping[str, type[BaseModel]]] = {"loras": Lora, "keyframes": Keyframe}


class Request(BaseModel):
    """One clip to make. Keywords and `parse` alike raise BadRequest with every problem found.

    Numbers must be numbers and booleans booleans: "5" is no 5, true is no 1, NaN is nothing. Values
    off the model's grid are accepted here and snapped in the plan.
    """

    model_config = _STRICT

    prompt: Prompt = Field(description="What happens in the clip, seen and heard.")
    negative_prompt: Negative | None = Field(
        None, description="What to steer away from; mode pro only. Null takes the model's own text."
    )
    mode: Literal["fast", "pro"] = Field(
        "fast", description="fast: distilled model, no guidance. pro: full model, guided."
    )
    image: Picture | None = Field(None, description="The first frame: makes it image to video.")
    last_image: Picture | None = Field(None, description="The last frame.")
    image_strength: Strength = Field(
        1.0, description="How firmly these two pictures are kept; 0 ignores them."
    )
    keyframes: Keyframes = Field((), description="Pictures at further moments of the clip.")
    resolution: Resolution | None = Field(
        None, description="Size of the frame by name; null takes the model's default."
    )
    aspect_ratio: AspectRatio = Field(
        "auto", description="Shape of the frame; auto takes the picture's, else 16:9."
    )
    width: Edge | None = Field(
        None, description="Pixels, snapped down; replaces resolution and aspect_ratio."
    )
    height: Edge | None = Field(None, description="Pixels, snapped down; goes with width.")
    duration: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = Field(
        None, description="Seconds, snapped down; null takes the model's default."
    )
    num_frames: Annotated[int, Field(ge=1, le=MAX_FRAMES)] | None = Field(
        None, description="Frames, snapped down to 8k + 1; replaces duration."
    )
    fps: Literal[24, 25, 30, 48, 50, 60] = Field(
        24, description="Playback rate in frames a second."
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Same seed, same clip; null draws one, which the result carries."
    )
    camera_motion: CameraMotion = Field("none", description="A camera move.")
    camera_strength: Annotated[float, Field(ge=0, le=2)] = Field(
        1.0, description="Scales the camera move's LoRA."
    )
    detailer: bool = Field(False, description="Adds an IC-LoRA detail pass.")
    spatial_upscaler: bool = Field(
        True, description="Two passes, the second at twice the size; false runs one at full size."
    )
    temporal_upscaler: bool = Field(False, description="Doubles the frame rate of the result.")
    loras: Loras = Field((), description="LoRAs of your own or of the catalogue.")
    generate_audio: bool = Field(True, description="false writes a clip without sound.")
    enhance_prompt: bool = Field(False, description="Lets a language model enrich the prompt.")
    num_inference_steps: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Steps of the guided pass; mode pro only."
    )
    guidance_scale: Scale | None = Field(
        None, description="Prompt guidance of the picture, 1 is off; mode pro only."
    )
    stg_scale: Perturbation | None = Field(
        None, description="Spatio-temporal guidance of the picture, 0 is off; mode pro only."
    )
    modality_scale: Scale | None = Field(
        None, description="Guidance of the picture by the sound, 1 is off; mode pro only."
    )
    guidance_rescale: Strength | None = Field(
        None, description="Share of the picture's contrast restored after guidance; mode pro only."
    )
    audio_guidance_scale: Scale | None = Field(
        None, description="Prompt guidance of the sound, 1 is off; mode pro only."
    )
    audio_stg_scale: Perturbation | None = Field(
        None, description="Spatio-temporal guidance of the sound, 0 is off; mode pro only."
    )
    audio_modality_scale: Scale | None = Field(
        None, description="Guidance of the sound by the picture, 1 is off; mode pro only."
    )
    audio_guidance_rescale: Strength | None = Field(
        None, description="Share of the sound's range restored after guidance; mode pro only."
    )
    generation_id: Key | None = Field(
        None, description="Your own key for this generation; the result carries it."
    )
    metadata: bool = Field(True, description="Writes prompt, seed and plan id into the MP4.")

    if not TYPE_CHECKING:  # checkers read the fields' own keywords instead

        def __init__(self, /, **data: object) -> None:
            values, problems = _spelled(data)
            problems += _conflicts(values)
            try:
                super().__init__(**values)
            except ValidationError as error:
                problems += _sentences(error)
            if problems:
                raise BadRequest(problems)

    @classmethod
    def parse(cls, data: object, *, paths: bool = False, folders: Sequence[Path] = ()) -> Self:
        """A request from JSON types. Raises BadRequest; `problems` has one sentence per fault.

        `paths` allows pictures and LoRAs from the local disk: never for a remote caller. Such a
        one may name files in `folders`, absolute or seen from one of them; links are followed as
        long as they stay inside, and the request holds the real place of each.
        """
        if not isinstance(data, Mapping):
            raise BadRequest(f"the request must be a JSON object; got {shown(data)}")
        given = {str(name): value for name, value in cast("Mapping[object, Any]", data).items()}
        problems = [] if paths else NamedFiles(folders).place(given, PICTURES)
        try:
            request = cls(**given)
        except BadRequest as error:
            raise BadRequest([*problems, *error.problems]) from None
        if problems:
            raise BadRequest(problems)
        return request


def _spelled(data: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The fields under their own names, and what is wrong with the names."""
    values: dict[str, object] = {}
    unknown: list[str] = []
    for name, value in data.items():
        if name in Request.model_fields:
            values[name] = value
        elif name not in _SPELLINGS:
            unknown.append(name)
    known = [*Request.model_fields, *_SPELLINGS]
    problems = [_unknown(name, known) for name in unknown[:MOST_TOLD]]
    problems += _untold(len(unknown), "unknown fields")
    for name, spellings in PICTURES.items():
        given = [s for s in (name, *spellings) if data.get(s) is not None]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} are spellings of one input; give one of them")
        elif given and given[0] != name:
            values[name], problem = _by_suffix(given[0], path_text(data[given[0]]))
            problems += [problem] if problem else []
    return values, problems


def _by_suffix(name: str, value: object) -> tuple[str | None, str | None]:
    """The value of a suffixed spelling, or what the suffix asks for."""
    kind = name.rpartition("_")[2]
    wanted = {"path": "a path", "url": "an http(s) URL", "base64": "base64 or a data URI"}[kind]
    if isinstance(value, str) and value:
        form = picture_form(value)
        if kind == "path" and form != "data" and not SCHEME.fullmatch(value):
            return anchored(value), None
        if (kind == "url" and form == "url") or (kind == "base64" and form in ("base64", "data")):
            return value, None
    return None, f"{name} must be {wanted}; got {shown(value)}"


def _conflicts(values: Mapping[str, object]) -> list[str]:
    """What is wrong between fields, whatever their values are."""
    problems: list[str] = []
    given = {name for name, value in values.items() if value is not None}
    if len(given & {"width", "height"}) == 1:
        missing = ({"width", "height"} - given).pop()
        problems.append(f"width and height go together: {missing} is missing; give both or neither")
    if values.get("mode", "fast") == "fast":
        problems += [
            f"{name} is for mode pro only: fast runs fixed steps without guidance; "
            "leave it out or set mode to pro"
            for name in PRO_ONLY
            if name in given
        ]
    return problems


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    advice = f"did you mean {' or '.join(close)}?" if close else f"accepted are {', '.join(known)}"
    return f"unknown field {shown(name)}; {advice}"


def _sentences(error: ValidationError) -> list[str]:
    """One sentence per place: what it takes and what it got."""
    found: dict[str, str] = {}
    faults = error.errors(include_url=False)
    for fault in faults[:MOST_TOLD]:
        where = fault["loc"]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)[1:]
        match fault["type"]:
            case "missing":
                text = f"{place} is required: {accepts(where)}"
            case "extra_forbidden":
                nested = _unknown(str(where[-1]), list(NESTED[str(where[0])].model_fields))
                text = f"{place.rpartition('.')[0]}: {nested}"
            case "value_error":
                text = f"{place} {fault.get('ctx', {})['error']}"
            case _:
                text = f"{place} must be {accepts(where)}; got {shown(fault['input'])}"
        found.setdefault(place, text)
    return [*found.values(), *_untold(len(faults), "faults")]


def _untold(count: int, what: str) -> list[str]:
    """How many more there are than are told."""
    return [] if count <= MOST_TOLD else [f"and {count - MOST_TOLD:,} more {what}"]


def accepts(where: Iterable[str | int]) -> str:
    """What a place takes, in words made from the schema: "a whole number from 64 to 4096, or null".

    `where` is a field's name in a sequence of one, or ("loras", index, a field of Lora) and the
    like.
    """
    path = list(where)
    if isinstance(path[-1], int):
        return _list_item(str(path[0]))
    model = NESTED[str(path[0])] if len(path) > 1 else Request
    prop = properties(model)[str(path[-1])]
    options: list[dict[str, Any]] = prop.get("anyOf", [prop])
    null = ", or null" if {"type": "null"} in options else ""
    if path[-1] in PICTURES:
        forms = "an http(s) URL, a data URI, base64 or (from the command line and Python) a path"
        return forms + null
    if path[-1] in NESTED:
        return f"a list of at most {prop['maxItems']} {_list_item(str(path[-1]))}"
    return _in_words(options[0]) + null


@cache
def properties(model: type[BaseModel]) -> Mapping[str, dict[str, Any]]:
    """The fields of a model's JSON schema, made once: it takes milliseconds. To be read only."""
    return model.model_json_schema()["properties"]


def _in_words(kind: Mapping[str, Any]) -> str:
    if "enum" in kind:
        return "one of " + ", ".join(str(choice) for choice in kind["enum"])
    match kind["type"]:
        case "integer":
            return f"a whole number from {kind['minimum']} to {kind['maximum']}"
        case "number" if "exclusiveMinimum" in kind:
            return f"a number above {kind['exclusiveMinimum']:g}, at most {kind['maximum']:g}"
        case "number":
            return f"a number from {kind['minimum']:g} to {kind['maximum']:g}"
        case "boolean":
            return "true or false"
        case _:
            return f"a text of {kind.get('minLength', 0)} to {kind['maxLength']:,} characters"


def _list_item(name: str) -> str:
    return "{" + ", ".join(NESTED[name].model_fields) + "}"


def asked_pictures(request: Request) -> dict[str, str]:
    """Every picture of a request by its name in plans and errors: "image", "keyframes[0]", ..."""
    keyframes = {f"keyframes[{i}]": item.image for i, item in enumerate(request.keyframes)}
    pictures = {"image": request.image, **keyframes, "last_image": request.last_image}
    return {name: source for name, source in pictures.items() if source is not None}
