"""Where a finished clip goes.

A delivery says where the MP4 is written and what the result carries for it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ltx2.media.encode import Encoded
    from pipelines.plan import Plan, RestorePlan


class Delivery(Protocol):
    """A destination of clips."""

    def path(self, plan: "Plan | RestorePlan") -> Path:
        """The file the MP4 is written to. It appears there whole or not at all."""
        ...

    def hand_over(self, encoded: "Encoded") -> dict[str, str]:
        """Deliver the written file; the fields of the result that lead to it, e.g. `video_url`."""
        ...
