"""The command line's options for a request, derived from the Request schema: names, choices, bounds
and sentences.
"""

import argparse
import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ltx2.errors import BadRequest
from ltx2.request import PICTURES, Request, picture_form

if TYPE_CHECKING:
    from ltx2.settings import Settings

LORA_FORM = "SOURCE[@STRENGTH[@STAGES]]"
KEYFRAME_FORM = "IMAGE@MOMENT[@STRENGTH]"
STAGES = ("both", "base", "refine")
# The other spellings of a picture by their suffix.
FORMS = {"url": "an http(s) URL", "base64": "base64 or a data URI", "path": "a path"}
SPELLINGS = tuple(spelling for spellings in PICTURES.values() for spelling in spellings)


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """One option per field of the request. Nothing is checked here: the request reports all
    problems at once.
    """
    schema = Request.model_json_schema(by_alias=False)
    parser.add_argument("prompt", help=_sentence(schema["properties"]["prompt"]))
    group = parser.add_argument_group("request")
    for name, rule in schema["properties"].items():
        if name == "prompt":
            continue
        if name in LISTS:
            option, form, _, note = LISTS[name]
            group.add_argument(
                option,
                dest=name,
                action="append",
                default=argparse.SUPPRESS,
                metavar=form,
                help=_escaped(f"{rule.get('description', '')} {note}May be given several times."),
            )
            continue
        spellings = PICTURES.get(name, ())
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        options["help"] = _sentence(rule)
        if _types(rule) == {"boolean"}:
            group.add_argument(flag(name), action=argparse.BooleanOptionalAction, **options)
        else:
            choices = _choices(rule)
            metavar = "{" + ",".join(map(str, choices)) + "}" if choices else _metavar(rule)
            group.add_argument(flag(name), metavar=metavar, **options)
        for spelling in spellings:
            kind = spelling.rpartition("_")[2]
            group.add_argument(
                flag(spelling),
                dest=spelling,
                default=argparse.SUPPRESS,
                metavar="TEXT",
                help=f"{flag(name)} as {FORMS[kind]} and nothing else.",
            )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """The options of every command that makes a clip: where it goes and how it is made."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the MP4 to write, over one that is there; default ltx2-PLAN.mp4 under a new name in "
        "this folder",
    )
    add_weight_flags(parser)


def add_weight_flags(parser: argparse.ArgumentParser) -> None:
    """Where the model runs and how its weights are kept."""
    from ltx2.settings import Quantisation

    parser.add_argument("--device", help="cuda, cuda:1 or cpu; default the GPU where there is one")
    parser.add_argument(
        "--quantise",
        choices=get_args(Quantisation),
        help="round the weights of transformer and text encoder to a byte each as they are read: "
        "half the memory, another clip; default are the settings",
    )


def chosen_settings(arguments: argparse.Namespace, settings: "Settings") -> "Settings":
    """The settings with what those options replace."""
    if arguments.quantise is None:
        return settings
    return settings.quantised(arguments.quantise)


def read_request(arguments: argparse.Namespace, problems: Iterable[str] = ()) -> Request:
    """The request of a command line; what was not given stays at its default.

    Raises BadRequest with every problem of the request, after those that are known already.
    """
    found = list(problems)
    fields, faults = request_fields(arguments)
    found += faults
    try:
        request = Request.parse(fields, paths=True)
    except BadRequest as error:
        # Files are looked at once the request is whole; here it will not be, so that is said now.
        lost = [
            f"{name} names a file that does not exist: {value}"
            for name in PICTURES
            if isinstance(value := fields.get(name), str)
            and picture_form(value) is None
            and not _is_file(value)
        ]
        raise BadRequest([*found, *error.problems, *lost]) from error
    if found:
        raise BadRequest(found)
    return request


def request_fields(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What was given on the command line as fields of a request, and what cannot be read."""
    properties = Request.model_json_schema(by_alias=False)["properties"]
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in vars(arguments).items():
        if name in SPELLINGS:
            fields[name] = value
        elif name not in properties:
            continue
        elif name in LISTS:
            fields[name] = []
            for text in value:
                try:
                    fields[name].append(LISTS[name][2](text))
                except ValueError as error:
                    problems.append(str(error))
        elif isinstance(value, str) and _types(properties[name]) & {"integer", "number"}:
            fields[name] = number(value)
        elif (
            name in PICTURES
            and not hasattr(arguments, f"{name}_path")
            and picture_form(value) == "base64"
            and _is_file(value)
        ):
            fields[f"{name}_path"] = value  # a file's name may look like base64; the file decides
        else:
            fields[name] = value
    return fields, problems


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False  # real base64 is longer than any file name


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def similar_flag(name: str, among: Sequence[str] | None = None) -> str | None:
    """The option that a mistyped one was probably meant to be, of the request's or `among` others.

    None where none is near.
    """
    if among is not None:
        return next(iter(difflib.get_close_matches(name, among, n=1)), None)
    fields = [*(field for field in Request.model_fields if field not in LISTS), *SPELLINGS]
    options = [*(option for option, *_ in LISTS.values()), *map(flag, fields)]
    return next(iter(difflib.get_close_matches(name, options, n=1)), None)


def lora(text: str) -> dict[str, Any]:
    """`SOURCE[@STRENGTH[@STAGES]]` as a LoRA of the request. Read from the right: a source may hold
    an @ itself.
    """
    head, _, last = text.rpartition("@")
    fields: dict[str, Any] = {}
    if head and last in STAGES:
        fields["stages"] = last
        text = head
        head, _, last = text.rpartition("@")
    if head:
        strength = number(last)
        if not isinstance(strength, str):
            fields["strength"] = strength
            text = head
        elif "stages" in fields:
            raise ValueError(f"loras: {last!r} in --lora is no strength; the form is {LORA_FORM}")
        elif ".safetensors@" in text:
            raise ValueError(
                f"loras: {text.rpartition('.safetensors@')[2]!r} after the file is neither a "
                f"strength nor one of {', '.join(STAGES)}; the form is {LORA_FORM}"
            )
    elif "stages" in fields:
        raise ValueError(
            f"loras: --lora names stages without a strength before them; the form is {LORA_FORM}"
        )
    return {"source": text, **fields}


def keyframe(text: str) -> dict[str, Any]:
    """`IMAGE@MOMENT[@STRENGTH]` as a keyframe of the request, the moment a frame or, with an `s` at
    its end, seconds. Read from the right: an image's name may hold an @ itself.
    """
    head, _, last = text.rpartition("@")
    fields: dict[str, Any] = {}
    if not _is_moment(last) or _is_moment(head.rpartition("@")[2]):
        fields["strength"] = number(last)
        head, _, last = head.rpartition("@")
    if not head or not _is_moment(last) or isinstance(fields.get("strength"), str):
        raise ValueError(
            f"keyframes: --keyframe {text!r} does not name its moment; "
            f"the form is {KEYFRAME_FORM}, the moment a frame such as 48 or a time such as 2.5s"
        )
    if last.endswith("s"):
        fields["second"] = number(last[:-1])
    else:
        fields["frame"] = number(last)
    image = f"./{head}" if picture_form(head) == "base64" and _is_file(head) else head
    return {"image": image, **fields}


def _is_moment(text: str) -> bool:
    """A whole number, or any number with an `s`: a plain 0.5 is a strength."""
    value = number(text.removesuffix("s"))
    return isinstance(value, int) or (isinstance(value, float) and text.endswith("s"))


# Fields that take a list: option, form, reader of one item, and a note for the help.
LISTS: Mapping[str, tuple[str, str, Callable[[str], dict[str, Any]], str]] = {
    "loras": ("--lora", LORA_FORM, lora, ""),
    "keyframes": (
        "--keyframe",
        KEYFRAME_FORM,
        keyframe,
        "The moment is a frame, as in cat.png@48, or a time, as in cat.png@2.5s. ",
    ),
}


def number(text: str) -> int | float | str:
    """The number a text spells, else the text itself, which the request then refuses by name."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _branches(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema's alternatives, without null."""
    return [part for part in rule.get("anyOf", [rule]) if part.get("type") != "null"]


def _types(rule: dict[str, Any]) -> set[str]:
    return {
        kind
        for part in _branches(rule)
        for kind in ([part["type"]] if "type" in part else map(_json_type, part.get("enum", [])))
    }


def _json_type(value: object) -> str:
    return "integer" if isinstance(value, int) else "string"


def _choices(rule: dict[str, Any]) -> list[Any]:
    return [value for part in _branches(rule) for value in part.get("enum", [])]


def _metavar(rule: dict[str, Any]) -> str:
    types = _types(rule)
    return "N" if types == {"integer"} else "X" if types & {"integer", "number"} else "TEXT"


def _sentence(rule: dict[str, Any]) -> str:
    """The field's own sentence, its bounds and its default."""
    parts = [rule.get("description", "").strip()]
    for part in _branches(rule):
        above, below = part.get("minimum"), part.get("maximum")
        if above is not None and below is not None:
            parts.append(f"{above:g} to {below:g}." if below < 1e15 else f"{above:g} or more.")
        elif below is not None and "exclusiveMinimum" in part:
            parts.append(f"Above {part['exclusiveMinimum']:g}, up to {below:g}.")
    if rule.get("default") is not None:
        parts.append(f"Default {json.dumps(rule['default']).strip(chr(34))}.")
    return _escaped(" ".join(part for part in parts if part))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats help texts
