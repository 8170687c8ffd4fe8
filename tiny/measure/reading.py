"""What a recogniser read, and how sure it can be."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """`name` is the best candidate, None where no candidate is good enough. A higher score is
    better; what it counts is said by the function that gives the reading.
    """

    name: str | None
    scores: Mapping[str, float]


def best(scores: Mapping[str, float], *, least: float) -> Reading:
    """The candidate with the highest score, or none if that is below `least`."""
    name = max(scores, key=scores.__getitem__)
    return Reading(name=name if scores[name] >= least else None, scores=scores)
