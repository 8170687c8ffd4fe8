"""Plans of a small clip on the embedded checkpoint, for tests of single stages."""

from typing import Any

from ltx2.planner import plan
from ltx2.request import Request
from pipelines.plan import Plan


def small_plan(**changes: Any) -> Plan:
    """128x64, 17 frames, two passes, unless changed."""
    request = {"prompt": "a red ball", "seed": 7, "width": 128, "height": 64, "num_frames": 17}
    return plan(Request(**{**request, **changes}), checkpoint="tiny")


def usual_plan() -> Plan:
    """The embedded checkpoint's default clip, of words that it knows."""
    return plan(Request(prompt="a large red square moving left", seed=7), checkpoint="tiny")
