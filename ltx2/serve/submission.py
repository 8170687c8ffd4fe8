"""The body of /run and /runsync: a job's input, and what is to be done about it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from ltx2.errors import BadRequest
from ltx2.forms import shown

logger = logging.getLogger(__name__)

WEEK = 7 * 24 * 3600 * 1000  # milliseconds
# The platform's bounds, in milliseconds.
BOUNDS = {"executionTimeout": (5_000, WEEK), "ttl": (10_000, WEEK)}
# What the platform reads of a job and hands to its worker.
HANDED_OVER = ("input", "webhook", "policy", "s3Config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What was posted, judged. `job` is what the worker gets beside the id."""

    job: Mapping[str, Any]
    webhook: str | None
    execution_seconds: float | None  # None where the policy does not say
    ttl_seconds: float | None
    low_priority: bool


def read_submission(text: bytes) -> Submission:
    """The submission in a request's body. Raises BadRequest with every problem."""
    given = _document(text)
    problems: list[str] = []
    if not isinstance(given.get("input"), dict):
        problems.append(f"input must be a JSON object; got {shown(given.get('input'))}")
    webhook = given.get("webhook")
    if webhook is not None and not _is_url(webhook):
        problems.append("webhook must be an http(s) URL")
    s3_config = given.get("s3Config")
    if s3_config is not None and not isinstance(s3_config, dict):
        problems.append("s3Config must be a JSON object")
    policy: object = given.get("policy")
    times, low = _policy({} if policy is None else policy, problems)
    if problems:
        raise BadRequest(problems)
    if others := sorted(set(given) - set(HANDED_OVER)):
        logger.warning("a job's %s means nothing to the platform", ", ".join(map(shown, others)))
    return Submission(
        job={name: given[name] for name in HANDED_OVER if given.get(name) is not None},
        webhook=webhook,
        execution_seconds=times.get("executionTimeout"),
        ttl_seconds=times.get("ttl"),
        low_priority=low,
    )


def _document(text: bytes) -> dict[str, Any]:
    try:
        given: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body must be JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadRequest(f'the body must be an object as {{"input": {{…}}}}; got {shown(given)}')
    return cast("dict[str, Any]", given)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is_url(webhook: object) -> bool:
    if not isinstance(webhook, str) or any(ord(char) <= 32 for char in webhook):
        return False
    try:
        parts = urlsplit(webhook)
        _ = parts.port  # raises for what is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _policy(policy: object, problems: list[str]) -> tuple[dict[str, float], bool]:
    """Its times in seconds, and whether the job comes after all others."""
    if not isinstance(policy, dict):
        problems.append(f"policy must be a JSON object; got {shown(policy)}")
        return {}, False
    given = cast("dict[str, object]", policy)
    times: dict[str, float] = {}
    for name, (low, high) in BOUNDS.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            problems.append(f"policy.{name} must be a number; got {shown(value)}")
        elif not low <= value <= high:
            problems.append(f"policy.{name} must be {low} to {high} milliseconds; got {value}")
        else:
            times[name] = value / 1000
    priority = given.get("lowPriority")
    if priority is not None and not isinstance(priority, bool):
        problems.append(f"policy.lowPriority must be true or false; got {shown(priority)}")
    known = (*BOUNDS, "lowPriority")
    problems += [
        f"policy.{name} is not known; it takes {', '.join(known)}"
        for name in given
        if name not in known
    ]
    return times, priority is True
