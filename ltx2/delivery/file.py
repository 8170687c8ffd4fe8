"""Delivery to a local file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltx2.media.encode import Encoded
    from pipelines.plan import Plan, RestorePlan


@dataclass(frozen=True, slots=True)
class ToFile:
    """Writes to `target` and answers with its file URL."""

    target: Path

    def path(self, plan: "Plan | RestorePlan") -> Path:  # noqa: ARG002 - the caller chose the name
        """The target itself."""
        return self.target.absolute()

    def hand_over(self, encoded: "Encoded") -> dict[str, str]:
        """Nothing is left to do: the file is where it was asked for."""
        return {"video_url": encoded.path.as_uri()}
