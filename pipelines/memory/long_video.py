"""An existing video of any length: two short stretches of it tell what a longer one takes.

Stages work on it in windows, so that from some length on only its latents grow, and evenly.
"""

from dataclasses import replace

from pipelines.geometry import TEMPORAL
from pipelines.memory.rehearsal import Rehearsed
from pipelines.plan import RestorePlan
from pipelines.stages.upsample_long import MARGIN, STRETCH

# Frames of the two stretches: beyond what the upscalers take at once, the longest of all windows.
SHORT = (STRETCH + 2 * MARGIN + 1) * TEMPORAL + 1
LONG = SHORT + 20 * TEMPORAL


def stretches(plan: RestorePlan) -> tuple[RestorePlan, RestorePlan] | None:
    """The plan over its first frames, twice; None for a video that is short enough itself."""
    if plan.source.padded_frames <= LONG:
        return None
    return _first(plan, SHORT), _first(plan, LONG)


def _first(plan: RestorePlan, frames: int) -> RestorePlan:
    share = 2 if "temporal_upscaler" in plan.upscalers else 1
    source = replace(plan.source, frames=frames, padded_frames=frames)
    return replace(
        plan, source=source, num_frames=plan.num_frames - share * (plan.source.frames - frames)
    )


def extended(short: Rehearsed, long: Rehearsed, frames: int) -> Rehearsed:
    """What a video of `frames` takes: what the longer stretch does, and as much more of the device
    as it takes more than the shorter one, for each set of parts at work. The host never holds more
    than a window.
    """
    times = (frames - LONG) / (LONG - SHORT)
    before, after = _fullest(short), _fullest(long)
    more = {
        parts: round(times * max(0, nbytes - before.get(parts, 0)))
        for parts, nbytes in after.items()
    }
    moments = tuple(
        replace(
            moment,
            device=moment.device + more[moment.parts],
            both=moment.both + more[moment.parts],
        )
        for moment in long.moments
    )
    return replace(long, moments=moments)


def _fullest(run: Rehearsed) -> dict[tuple[str, ...], int]:
    """The most bytes of the device while each set of parts is at work."""
    found: dict[tuple[str, ...], int] = {}
    for moment in run.moments:
        found[moment.parts] = max(found.get(moment.parts, 0), moment.device)
    return found
