"""The lines of a batch as jobs: what each asks for, and the name its clip has."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import BadRequest
from ltx2.files import digest_of
from ltx2.forms import lora_form
from ltx2.request import Request, asked_pictures, picture_form

if TYPE_CHECKING:
    from ltx2.settings import Settings

KEY = 16  # hex digits of a job's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A request and the line of the file it stands on, from 1."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A line with the name of its work: equal requests on equal files and weights have one name,
    and each further line that repeats it one of its own.
    """

    line: int
    key: str
    request: Request


def read_lines(path: Path) -> list[Line]:
    """The requests of a file, one JSON object a line; empty lines are passed over.

    Raises BadRequest with every problem of every line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from error
    lines: list[Line] = []
    problems: list[str] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            lines.append(Line(number=number, request=_request(raw)))
        except BadRequest as error:
            problems += [f"line {number}: {problem}" for problem in error.problems]
    if problems:
        raise BadRequest(problems)
    if not lines:
        raise BadRequest(f"{path} has no request; one JSON object is read from each line")
    return lines


def _request(raw: bytes) -> Request:
    try:
        fields = json.loads(raw)
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"not JSON: {error.msg} at column {error.colno}; a line is an object such as "
            '{"prompt": "Rain", "seed": 7}'
        ) from error
    return Request.parse(fields, paths=True)


def named(lines: list[Line], checkpoint: str, settings: "Settings") -> list[Job]:
    """The jobs of these lines on a checkpoint, in the order of the lines."""
    rounded = [settings.transformer_quantisation, settings.text_encoder_quantisation]
    seen = Counter[str]()
    jobs: list[Job] = []
    for line in lines:
        work = [line.request.model_dump(mode="json"), _files(line.request), checkpoint, rounded]
        digest = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:KEY]
        seen[digest] += 1
        key = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        jobs.append(Job(line=line.number, key=key, request=line.request))
    return jobs


def _files(request: Request) -> dict[str, Any]:
    """What the request's own files hold: pictures by content, LoRAs, which are large, by size and
    time. One that is not there is refused later, with all other refusals.
    """
    found: dict[str, Any] = {}
    for source in asked_pictures(request).values():
        if picture_form(source) is None and Path(source).is_file():
            found[source] = digest_of(Path(source))
    for lora in request.loras:
        if lora_form(lora.source) == "path" and (file := Path(lora.source).expanduser()).is_file():
            stat = file.stat()
            found[lora.source] = [stat.st_size, stat.st_mtime_ns]
    return found
