"""What the OpenAPI document says beside the routes' own types: bodies of forms, refusals, keys."""

from collections.abc import Mapping
from typing import Any

from gateway.api.envelope import ErrorBody
from gateway.forms import ALIASES, FIELDS
from gateway.webhooks.outgoing.post import LONGEST_URL
from ltx2.request import PICTURES, Lora, Request, properties

BINARY = {"type": "string", "format": "binary"}
_SAID = {
    400: "The request is wrong; `problems` has every fault.",
    401: "No key, or one that is not known.",
    402: "The credits do not suffice.",
    403: "A call with a cookie that did not come from our own pages.",
    404: "Not there, or another account's.",
    409: "Not in this state.",
    413: "More bytes than are taken.",
    415: "Another media type than is read.",
    416: "A part behind the end of the file.",
    422: "The idempotency key was used with another request, or what it made was deleted.",
    429: "Too often, or too many at once; `Retry-After` has the seconds.",
    500: "A fault of ours; name the request id.",
    503: "The database, the worker or the store cannot be reached now.",
}


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse, for the document. Every route may refuse its caller, and asks the
    database.
    """
    every = sorted({401, 403, 429, 500, 503, *statuses})
    return {status: {"model": ErrorBody, "description": _SAID[status]} for status in every}


def content_of(*types: str) -> dict[str, Any]:
    """An answer's or a request's bytes of any of these media types."""
    return {each: {"schema": BINARY} for each in types}


def file_of_generation() -> dict[int | str, dict[str, Any]]:
    """What a route answers that gives the video of a generation or its thumbnail."""
    files = content_of("video/mp4", "image/jpeg")
    return {
        **refused(400, 404, 409, 416),
        200: {"description": "The file.", "content": files},
        206: {"description": "The part of it that was asked for.", "content": files},
        307: {"description": "It is at the store; the link is good for minutes."},
    }


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The documented body of a route that reads its JSON itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": dict(schema)}},
        }
    }


def form_body(*, prompt: bool = True) -> dict[str, Any]:
    """The form of a generation; `prompt` says whether it is required."""
    return json_body(form_schema() | ({"required": ["prompt"]} if prompt else {}))


def form_schema() -> dict[str, Any]:
    """The form's fields, as the desk judges them. What fits together is in /api/models."""
    whole = properties(Request)
    fields = {name: whole[name] for name in FIELDS if name in whole}
    fields["loras"] = {**fields["loras"], "items": Lora.model_json_schema()}
    for name in PICTURES:
        picture = {**_PICTURE, "description": f"{whole[name]['description']} {_PICTURE_IS}"}
        fields[name] = picture
        fields |= {alias: picture for alias, field in ALIASES.items() if field == name}
    for name, said in _OFFERED.items():
        kind = "integer" if name in ("duration", "fps") else "string"
        fields[name] = {"type": [kind, "null"], "description": f"{said} As /api/models offers it."}
    fields["webhook_url"] = {
        "type": ["string", "null"],
        "maxLength": LONGEST_URL,
        "description": "An https URL that is told when the generation has ended.",
    }
    return {"type": "object", "properties": fields, "additionalProperties": False}


_PICTURE = {"type": ["string", "null"], "maxLength": LONGEST_URL}
_PICTURE_IS = "An https URL, or the uri of an upload."
_OFFERED = {
    "model": "The model.",
    "mode": "fast or pro.",
    "resolution": "The size by name.",
    "duration": "Seconds.",
    "fps": "Frames a second.",
}
