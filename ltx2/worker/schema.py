"""JSON Schemas of what a job may say and of what it is answered, made from the request's own.

What a schema refuses, the worker refuses too. The other way round it says less: that a LoRA exists,
that a picture can be read and that a clip fits is found out by asking for it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from ltx2.request import PICTURES, PRO_ONLY, PictureName, Request
from ltx2.worker.answer import CODES
from ltx2.worker.job import ACTIONS, OUTPUTS, WORDS_FIELDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

NULL: Schema = {"type": "null"}
# Patterns of the forms in ltx2.forms, by their beginnings: the rest of base64 may be megabytes.
_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/]"
_DATA = r"^[Dd][Aa][Tt][Aa]:"
_BASE64 = r"^[A-Za-z0-9+/_\-\s]{16}"
_SCHEME = r"^[A-Za-z][A-Za-z0-9+.\-]+://"
_SPELLINGS: Mapping[str, tuple[Schema, str]] = {
    "url": ({"pattern": _URL}, "{} as an http(s) URL."),
    "base64": ({"pattern": f"{_DATA}|{_BASE64}"}, "{} as base64 or a data URI."),
    "path": (
        {"minLength": 1, "not": {"pattern": f"{_DATA}|{_SCHEME}"}},
        "{} as a file in one of the folders that this worker reads, absolute or seen from there.",
    ),
}
_FILES = " An http(s) URL, a data URI, base64, or a file in one of the worker's folders."


def input_schema() -> Schema:
    """The schema of a job's `input`: a clip to make, an action, or words to enrich."""
    request = _without_titles(Request.model_json_schema())
    definitions: Schema = request.pop("$defs")
    keyframe, lora = definitions["Keyframe"], definitions["Lora"]
    keyframe["oneOf"] = [
        {**_given("frame"), "not": _given("second")},
        {**_given("second"), "not": _given("frame")},
    ]
    lora["properties"]["source"] |= {
        "minLength": 1,
        "description": "A catalogue id, an http(s) URL, owner/name:file.safetensors on the hub, or "
        "a .safetensors file in one of the worker's folders.",
    }
    clip = {
        **request,
        "description": "A clip to make.",
        "properties": {**_properties(request["properties"]), **_delivery()},
        "allOf": list(_rules()),
    }
    alone = [action for action in ACTIONS if action != "enhance"]
    words = {
        "type": "object",
        "description": "A prompt to be rewritten by the model's own language model; it is answered "
        "as `prompt`, with the `seed` that gives the same words again.",
        "properties": {
            "action": {"const": "enhance"},
            **{name: clip["properties"][name] for name in WORDS_FIELDS},
        },
        "required": ["action", "prompt"],
        "additionalProperties": False,
        "allOf": list(_one_spelling("image")),
    }
    action = {
        "type": "object",
        "description": "A question to the worker itself; it needs no weights.",
        "properties": {"action": {"type": "string", "enum": alone}},
        "required": ["action"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": "Input of a job",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("Clip", "Action", "Enhance")],
        "$defs": {"Clip": clip, "Action": action, "Enhance": words, **definitions},
    }


def result_schema() -> Schema:
    """The schema of the answer to a job that asks for a clip: the result, or an error."""
    return {
        "$schema": DIALECT,
        "title": "Answer to a job",
        "oneOf": [{"$ref": "#/$defs/Result"}, {"$ref": "#/$defs/Error"}],
        "$defs": {"Result": _result(), "Error": _error()},
    }


def _properties(fields: Mapping[str, Schema]) -> Schema:
    """The request's fields, the other spellings of each picture behind it."""
    found: Schema = {}
    for name, field in fields.items():
        found[name] = dict(field)
        spellings = PICTURES.get(cast("PictureName", name))
        if spellings is not None:
            found[name]["description"] += _FILES
            for spelling in spellings:
                form, sentence = _SPELLINGS[spelling.rpartition("_")[2]]
                found[spelling] = {
                    "anyOf": [{"type": "string", **form}, NULL],
                    "default": None,
                    "description": sentence.format(f"`{name}`"),
                }
    # Blanks around a text do not count, so one of blanks alone is empty.
    found["prompt"]["pattern"] = r"\S"
    found["loras"]["uniqueItems"] = True
    return found


def _delivery() -> Schema:
    return {
        "output": {
            "enum": [*OUTPUTS, None],
            "default": "auto",
            "description": "How the clip is answered: base64 as `video`, url as `video_url`, auto "
            "as what suits its size and what the worker has.",
        },
        "upload_url": {
            "anyOf": [{"type": "string", "format": "uri"}, NULL],
            "default": None,
            "description": "A presigned URL of your own that the clip is PUT to.",
        },
    }


def _rules() -> Iterable[Schema]:
    """What holds between fields. A field that is null counts as left out."""
    for name in PICTURES:
        yield from _one_spelling(name)
    yield {"if": _given("width"), "then": _given("height")}
    yield {"if": _given("height"), "then": _given("width")}
    yield {"if": {"properties": {"mode": {"const": "fast"}}}, "then": _all_null(PRO_ONLY)}
    yield {
        "if": _given("upload_url"),
        "then": {"properties": {"output": {"not": {"const": "base64"}}}},
    }


def _one_spelling(name: PictureName) -> Iterable[Schema]:
    names = (name, *PICTURES[name])
    for index, each in enumerate(names[:-1]):
        yield {"if": _given(each), "then": _all_null(names[index + 1 :])}


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": NULL}}}


def _all_null(names: Iterable[str]) -> Schema:
    return {"properties": dict.fromkeys(names, NULL)}


def _result() -> Schema:
    text, whole, number = {"type": "string"}, {"type": "integer"}, {"type": "number"}
    texts = {"type": "array", "items": text}
    own: Schema = {
        "video_url": {**text, "description": "Where the clip lies."},
        "video": {**text, "contentEncoding": "base64", "contentMediaType": "video/mp4"},
    }
    always: Schema = {
        "content_type": {"const": "video/mp4"},
        "bytes": {**whole, "minimum": 1},
        "sha256": {**text, "pattern": "^[0-9a-f]{64}$"},
        "width": whole,
        "height": whole,
        "fps": number,
        "num_frames": whole,
        "duration": {**number, "description": "Seconds."},
        "has_audio": {"type": "boolean"},
        "audio_sample_rate": {"type": ["integer", "null"]},
        "seed": whole,
        "prompt": {**text, "description": "The prompt that was really used."},
        "mode": {"enum": ["fast", "pro"]},
        "checkpoint": text,
        "model_version": text,
        "plan_id": text,
        "snaps": {
            "type": "array",
            "description": "What was moved to the model's grid, from what to what.",
            "items": {"type": "object", "required": ["name", "asked", "used"]},
        },
        "warnings": texts,
        "loras": {"type": "array", "items": {"type": "object"}},
        "timings": {
            "type": "object",
            "description": "Seconds by stage.",
            "additionalProperties": number,
        },
        "generation_id": text,
    }
    return {
        "type": "object",
        "properties": {**own, **always},
        "required": list(always),
        "oneOf": [{"required": [name]} for name in own],
        "not": {"required": ["error"]},
    }


def _error() -> Schema:
    return {
        "type": "object",
        "properties": {
            "error": {"type": "string", "pattern": f"^(?:{'|'.join(CODES)}): "},
            "error_code": {"enum": list(CODES)},
            "refresh_worker": {"const": True, "description": "The platform replaces the worker."},
        },
        "required": ["error", "error_code"],
        "additionalProperties": False,
    }


def _without_titles(schema: Schema) -> Schema:
    """A schema without the titles that pydantic makes of names."""
    found: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _without_titles(part) for name, part in value.items()}
        elif isinstance(value, dict):
            found[key] = _without_titles(cast("Schema", value))
        elif key != "title":
            found[key] = value
    return found
