"""An endpoint's settings, as RunPod's documentation states what they do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Scaler = Literal["REQUEST_COUNT", "QUEUE_DELAY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """REQUEST_COUNT wants ceil((waiting + running) / value) workers, QUEUE_DELAY one more for each
    request that has waited `value` seconds while no start is under way for it.

    Workers up to `min_workers` run all the time. Others end after `idle_seconds` without a job. A
    start within `flash_keep` seconds of a worker's end takes the flash seconds instead of the cold
    ones, which FlashBoot does while the machine is not given to others; 0 is without it.
    """

    name: str
    scaler: Scaler = "REQUEST_COUNT"
    value: float = 1.0
    min_workers: int = 0
    max_workers: int = 3
    idle_seconds: float = 10.0  # cannot be set with REQUEST_COUNT
    flash_keep: float = 0.0

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Rules":
        """From a table of the configuration. Raises ValueError with what would be accepted."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"[[rules]] has no {', '.join(unknown)}; it has {sorted(known)}")
        rules = cls(**data)
        wrong = {
            "scaler must be REQUEST_COUNT or QUEUE_DELAY": rules.scaler
            not in ("REQUEST_COUNT", "QUEUE_DELAY"),
            "value must be above 0": rules.value <= 0,
            "min_workers must be 0 to max_workers, and these 1 or more": not 0
            <= rules.min_workers
            <= rules.max_workers
            or rules.max_workers < 1,
            "idle_seconds must be 1 to 3600": not 1 <= rules.idle_seconds <= 3600,
            "flash_keep must be 0 or more": rules.flash_keep < 0,
        }
        if problems := [text for text, is_wrong in wrong.items() if is_wrong]:
            raise ValueError(f"[[rules]] {rules.name!r}: {'; '.join(problems)}")
        return rules

    def wanted(self, waiting: int, running: int) -> int:
        """Workers that REQUEST_COUNT asks for, between the bounds."""
        asked = math.ceil((waiting + running) / self.value)
        return min(self.max_workers, max(self.min_workers, asked))
