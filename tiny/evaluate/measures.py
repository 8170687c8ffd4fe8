"""A measure: a number that must be reached, beside a control that must not."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number that must be at least `least`, and what the control got, which must be less than
    `most`.
    """

    name: str
    value: float
    least: float
    control: float
    most: float
    of: int  # clips

    @property
    def holds(self) -> bool:
        """Whether the value is reached and the control is not."""
        return self.value >= self.least and self.control < self.most


def share(values: Sequence[bool]) -> float:
    """How many are true, 0 to 1. ValueError for none at all."""
    if not values:
        raise ValueError("a share is of one value or more")
    return sum(values) / len(values)


def line(measure: Measure) -> str:
    """A measure as a line of the report."""
    return (
        f"{'ok  ' if measure.holds else 'FAIL'} {measure.name}: {measure.value:.3g} "
        f"(at least {measure.least:.3g}); control {measure.control:.3g} "
        f"(below {measure.most:.3g}); {measure.of} clips"
    )
