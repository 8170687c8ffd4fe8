"""A job of the platform to a task: its request, how it wants the clip, and by when. No torch."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from ltx2.delivery.outbox import Output
from ltx2.errors import BadRequest
from ltx2.forms import lora_place, shown
from ltx2.passes import SEEDS
from ltx2.request import MOST_TOLD, PICTURES, Request

Action = Literal["health", "schema", "smoke", "enhance"]

OUTPUTS: Final[tuple[str, ...]] = get_args(Output)
ACTIONS: Final[tuple[str, ...]] = get_args(Action)
MOST_MILLISECONDS = 7 * 86_400_000  # a week, the longest that the platform lets a job run
# Jobs without a name of their own, and the SDK's name for each job of a local run.
UNNAMED: Final = ("unknown", "local_test")
# What an input may hold beside a request.
DELIVERY_FIELDS: Final = ("output", "upload_url")
# What stands beside the action `enhance`; the others stand alone.
WORDS_FIELDS: Final = ("prompt", "seed", "image", *PICTURES["image"])
# The smallest clip that these words could be for: it is planned, which reads the picture, and not
# made. With a length of its own none is predicted.
WORDS_CLIP: Final[Mapping[str, int]] = {"width": 128, "height": 128, "num_frames": 9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one job asks for."""

    request: Request
    output: Output
    upload_url: str | None  # a presigned PUT of the caller's
    s3_config: Mapping[str, Any] | None  # the store that the job brings
    generation_id: str  # the caller's key, else the job's id, else a new one
    own_key: bool  # whether the caller gave it
    request_sha256: str  # of what decides the clip, to tell a repeated job from another one
    seconds: float | None  # that the platform gives the job; None where it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a job of the action `enhance` asks for."""

    request: Request  # of which the prompt, the picture and the seed count
    seconds: float | None  # that the platform gives the job; None where it does not say


def job_id(job: Mapping[str, Any]) -> str:
    """The platform's name of a job, for logs and keys."""
    found = job.get("id") if isinstance(job, Mapping) else None
    return found if isinstance(found, str) and found else UNNAMED[0]


def _own_name(job: Mapping[str, Any]) -> str:
    """A name that no other job has: by the name, a job that comes again is told from a new one."""
    name = job_id(job)
    return f"{name}-{uuid.uuid4().hex}" if name in UNNAMED else name


def find_action(job: Mapping[str, Any]) -> Action | None:
    """What a job asks for beside a clip; None for a clip. Raises BadRequest.

    An action takes no other field but `enhance`, which takes WORDS_FIELDS: what else stood there
    would be dropped in silence.
    """
    given = _input(job)
    if "action" not in given:
        return None
    action, problems = given["action"], list[str]()
    if action not in ACTIONS:
        problems.append(f"action must be one of {', '.join(ACTIONS)}; got {shown(action)}")
    fields = WORDS_FIELDS if action == "enhance" else ()
    if others := sorted(set(given) - {"action", *fields}):
        more = f" and {len(others) - MOST_TOLD:,} more" if len(others) > MOST_TOLD else ""
        got = ", ".join(map(shown, others[:MOST_TOLD])) + more
        takes = f"enhance takes {', '.join(fields)}" if fields else "an action takes no other field"
        problems.append(f"{takes}; got {got}")
    if problems:
        raise BadRequest(problems)
    return cast("Action", action)


def read_task(job: Mapping[str, Any], *, folders: Sequence[Path] = ()) -> Task:
    """A job's task. `folders` are those in which it may name files of this machine.

    Raises BadRequest with every problem there is.
    """
    given = _input(job)
    problems = _delivery_problems(given)
    s3_config = job.get("s3Config")
    if s3_config is not None and not isinstance(s3_config, Mapping):
        problems.append("s3Config must be an object")
    fields = {name: value for name, value in given.items() if name not in DELIVERY_FIELDS}
    try:
        request = Request.parse(fields, folders=folders)
    except BadRequest as refusal:
        raise BadRequest([*refusal.problems, *problems]) from None
    if problems:
        raise BadRequest(problems)
    name = request.generation_id or _own_name(job)
    if request.seed is None:
        request = request.model_copy(update={"seed": _seed(name)})
    return Task(
        request=request,
        output=given.get("output") or "auto",
        upload_url=given.get("upload_url"),
        s3_config=cast("Mapping[str, Any] | None", s3_config),
        generation_id=name,
        own_key=request.generation_id is not None,
        request_sha256=_digest(fields),
        seconds=_execution_seconds(job),
    )


def read_words(job: Mapping[str, Any], *, folders: Sequence[Path] = ()) -> Words:
    """What a job of the action `enhance` asks for; `folders` as for `read_task`. Raises BadRequest
    with every problem.
    """
    given = {name: value for name, value in _input(job).items() if name != "action"}
    fields = {**given, **WORDS_CLIP, "enhance_prompt": True}
    request = Request.parse(fields, folders=folders)
    if request.seed is None:
        request = request.model_copy(update={"seed": _seed(_own_name(job))})
    return Words(request=request, seconds=_execution_seconds(job))


def _input(job: Mapping[str, Any]) -> dict[str, Any]:
    given: object = job.get("input") if isinstance(job, Mapping) else None
    if not isinstance(given, Mapping):
        raise BadRequest(f"the job's input must be a JSON object; got {shown(given)}")
    return {str(name): value for name, value in cast("Mapping[object, Any]", given).items()}


def _delivery_problems(given: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    output, upload_url = given.get("output"), given.get("upload_url")
    if output is not None and output not in OUTPUTS:
        problems.append(f"output must be one of {', '.join(OUTPUTS)}; got {shown(output)}")
    if upload_url is not None and not isinstance(upload_url, str):
        problems.append(f"upload_url must be an http(s) URL; got {shown(upload_url)}")
    if upload_url is not None and output == "base64":
        problems.append("upload_url goes with output auto or url, not with base64")
    return problems


def _execution_seconds(job: Mapping[str, Any]) -> float | None:
    """`policy.executionTimeout`, which the platform gives in milliseconds."""
    policy: object = job.get("policy")
    found = (
        cast("Mapping[str, object]", policy).get("executionTimeout")
        if isinstance(policy, Mapping)
        else None
    )
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    return float(found) / 1000 if 0 < found <= MOST_MILLISECONDS else None


def _seed(name: str) -> int:
    """A seed for a job that leaves it open: the same if the platform runs the job a second time, so
    that two workers make one clip and not two.
    """
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()) % SEEDS


def _digest(fields: Mapping[str, Any]) -> str:
    """sha256 of a request as it was sent, but for what changes when the same is sent again: keys in
    the queries of its URLs.
    """
    spellings = {*PICTURES, *(name for names in PICTURES.values() for name in names)}
    same = {
        name: lora_place(value) if name in spellings and isinstance(value, str) else value
        for name, value in fields.items()
        if name != "generation_id" and value is not None
    }
    text = json.dumps(same, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
