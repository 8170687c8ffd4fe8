"""Seconds that are drawn: of a job, of a cold start."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """A constant, measured samples of which each is as likely, or an exponential with that mean."""

    constant: float | None = None
    samples: tuple[float, ...] = ()
    exponential: float | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any], name: str) -> "Times":
        """From a table of the configuration. Raises ValueError for what is none of the three."""
        if len(data) != 1 or not set(data) <= {"constant", "samples", "exponential"}:
            raise ValueError(
                f"[{name}] must have one of constant, samples, exponential; got {sorted(data)}"
            )
        value = next(iter(data.values()))
        numbers = value if isinstance(value, list) else [value]
        if not numbers or any(not isinstance(n, int | float) or n < 0 for n in numbers):
            raise ValueError(f"[{name}] must be seconds, 0 or more; got {value!r}")
        if "samples" in data:
            return cls(samples=tuple(map(float, numbers)))
        if "constant" in data:
            return cls(constant=float(numbers[0]))
        return cls(exponential=float(numbers[0]))

    @property
    def mean(self) -> float:
        """The expected seconds."""
        if self.samples:
            return sum(self.samples) / len(self.samples)
        return self.constant if self.constant is not None else self.exponential or 0.0

    def draw(self, chance: random.Random) -> float:
        """One of them."""
        if self.samples:
            return chance.choice(self.samples)
        if self.exponential:
            return chance.expovariate(1 / self.exponential)
        return self.constant or 0.0
