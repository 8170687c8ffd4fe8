"""Noise schedules. Every table ends in 0.0; only the denoise stage strips it. No torch."""

import math

# Lightricks' distilled schedules, used as they are, without any shift.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
REFINE = (0.909375, 0.725, 0.421875, 0.0)

ANCHOR_TOKENS = 4096  # the reference shifts its guided schedule as for this many tokens, whatever the size
TERMINAL = 0.1  # last sigma before 0.0 of the guided schedules


def anchor(steps: int) -> tuple[float, ...]:
    """The guided schedule of the reference: one table for every size."""
    return shifted(steps, ANCHOR_TOKENS)


def shifted(steps: int, tokens: int) -> tuple[float, ...]:
    """Linear schedule, shifted by exp(mu) and stretched so that the last non-zero sigma is `TERMINAL`.

    mu is linear in the token count, 0.95 at 1024 and 2.05 at 4096, unclamped. `steps` is at least 1.
    """
    mu = 0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024)
    shift = math.exp(mu)
    curve = [shift / (shift + 1 / s - 1) for s in (1 - i / steps for i in range(steps))]
    if steps == 1:
        return (1.0, 0.0)
    stretch = (1 - TERMINAL) / (1 - curve[-1])
    return (*(1 - (1 - s) * stretch for s in curve), 0.0)
