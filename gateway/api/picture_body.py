"""A picture in a request's body: a multipart field named `file`, or the body itself."""

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.api.documented import BINARY, content_of
from gateway.api.json_body import WrongType, read_bytes
from gateway.refusals import Problem, Problems, TooLarge

FIELD = "file"
_ENVELOPE = 64 * 2**10  # bytes that multipart adds at most
_TYPES = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {FIELD: BINARY},
                    "required": [FIELD],
                }
            },
            **content_of(*_TYPES),
        },
    }
}


async def read_picture(request: Request, most: int) -> tuple[str, bytes]:
    """Name and bytes. Raises Problems, TooLarge, WrongType. What it is, the desk judges."""
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content == "multipart/form-data":
        return await _from_form(request, most)
    if content not in _TYPES:
        taken = ", ".join(("multipart/form-data", *_TYPES))
        raise WrongType(f"send a picture as one of {taken}; got {content[:40] or 'none'}")
    return "picture", await read_bytes(request, most)


async def _from_form(request: Request, most: int) -> tuple[str, bytes]:
    await refuse_long(request, most + _ENVELOPE)
    try:
        async with request.form(max_files=1, max_fields=4) as form:
            found = form.get(FIELD)
            if not isinstance(found, UploadFile):
                raise Problems([Problem(field=FIELD, message=f"send the picture as {FIELD}")])
            if (found.size or 0) > most:
                raise too_large(most)
            return found.filename or "picture", await found.read()
    except HTTPException as error:  # what multipart's reader refuses
        raise Problems([Problem(field=None, message=str(error.detail))]) from error


async def refuse_long(request: Request, most: int) -> None:
    """Raise TooLarge for a form that says it is longer, or does not say how long it is.

    Its reader puts it on the disk as it comes, so the length must be known before.
    """
    declared = request.headers.get("content-length", "")
    if not declared.isascii() or not declared.isdigit():
        raise Problems([Problem(field=None, message="send a content-length with a form")])
    if int(declared[:20]) > most:
        raise too_large(most)


def too_large(most: int) -> TooLarge:
    """The refusal of what is longer."""
    return TooLarge(f"a picture of at most {most:,} bytes is taken", most=most)
