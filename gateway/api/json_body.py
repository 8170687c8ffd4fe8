"""Reading a request's body: of the right type, not too long, and nothing but a JSON object."""

import json
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from gateway.refusals import Problem, Problems, Refusal, TooLarge

# Two texts of 10,000 letters fit, each letter as the 12 bytes of an escaped pair: pictures are
# uploads or addresses, never part of a form.
FORM_BYTES = 256 * 2**10
SMALL_BYTES = 64 * 2**10
DEEPEST = 16  # objects within objects; a form has three


class WrongType(Refusal):
    """A body of another media type than is read here."""

    type = "invalid_request_error"
    status = 415


async def read_bytes(request: Request, most: int) -> bytes:
    """The body. Raises TooLarge as soon as it is longer, whatever its length was said to be."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    parts, length = list[bytes](), 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


async def read_object(request: Request, most: int = FORM_BYTES) -> dict[str, Any]:
    """A JSON object. Raises WrongType, TooLarge, Problems.

    Only application/json: a form is what a stranger's page could post from a browser unasked.
    """
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "application/json":
        raise WrongType(f"send content-type: application/json; got {content[:40] or 'none'}")
    text = await read_bytes(request, most)
    return await run_in_threadpool(parse_object, text)  # it may take as long as other calls do


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object from UTF-8. Raises Problems, also for a name given twice and for NaN."""
    try:
        found: object = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number
        )
    except UnicodeDecodeError as error:
        raise _problem("the body must be JSON in UTF-8") from error
    except RecursionError as error:
        raise _problem(f"the body must not be nested deeper than {DEEPEST}") from error
    except ValueError as error:  # JSONDecodeError is one
        raise _problem(f"the body must be JSON: {error}") from error
    if not isinstance(found, dict):
        raise _problem("the body must be a JSON object")
    fields = cast("dict[str, Any]", found)
    _judge(fields, DEEPEST)
    return fields


def _judge(value: object, depth: int) -> None:
    """Raise Problems for what is too deep, and for halves of characters: no text has them."""
    if depth == 0:
        raise _problem(f"the body must not be nested deeper than {DEEPEST}")
    match value:
        case dict():
            for name, each in cast("dict[str, object]", value).items():
                _judge(name, depth)
                _judge(each, depth - 1)
        case list():
            for each in cast("list[object]", value):
                _judge(each, depth - 1)
        case str():
            if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
                raise _problem("the body must not have unpaired surrogates (\\ud800 to \\udfff)")
        case _:
            pass


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]!r} is given twice")
        found[name] = value
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")


def _problem(message: str) -> Problems:
    return Problems([Problem(field=None, message=message)])


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is longer than {most:,} bytes, the most that is read", most=most)
