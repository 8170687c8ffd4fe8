"""Delivery to a local file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltx2.media.encode import Encoded
    from pipelines.plan import Plan, RestorePlan


@dataclass(frozen=True, slots=True)
class ToFile:
    """Writes to `target` and answers with its file URL.

    Without a target, to a file of this folder that is named after the plan and does not exist yet.
    """

    target: Path | None

    def path(self, plan: "Plan | RestorePlan") -> Path:
        """The target itself, or a new name."""
        return (self.target or new_name(plan)).absolute()

    def hand_over(self, encoded: "Encoded") -> dict[str, str]:
        """Nothing is left to do: the file is where it was asked for."""
        return {"video_url": encoded.path.as_uri()}


def new_name(plan: "Plan | RestorePlan") -> Path:
    """A file in this folder named after the plan that does not exist yet: nothing is overwritten
    unasked.
    """
    path = Path(f"ltx2-{plan.id}.mp4")
    number = 2
    while path.exists():
        path = Path(f"ltx2-{plan.id}-{number}.mp4")
        number += 1
    return path
