"""Noise schedules. Every table ends in 0.0; only the denoise stage strips it. No torch."""

import math
import struct

# Lightricks' distilled schedules, used as they are, without any shift.
DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)
REFINE = (0.909375, 0.725, 0.421875, 0.0)
# The same for clips of 420 tokens instead of 14,080: sigma / (1 - sigma) over the ratio of them.
# The fewer tokens show a thing, the less noise hides it.
REFINE_TINY = (0.23, 0.073, 0.0213, 0.0)
TEMPORAL_ROUND = (0.975, 0.909375, 0.725, 0.421875, 0.0)  # 2.5, between known pictures

# The reference shifts its guided schedule as for this many tokens, whatever the size.
ANCHOR_TOKENS = 4096
TERMINAL = 0.1  # last sigma before 0.0 of the guided schedules


def anchor(steps: int) -> tuple[float, ...]:
    """The guided schedule of the reference: one table for every size."""
    return shifted(steps, ANCHOR_TOKENS)


def shifted(steps: int, tokens: int) -> tuple[float, ...]:
    """Linear schedule, shifted by exp(mu), stretched to a last non-zero sigma of `TERMINAL`.

    mu is linear in the token count, 0.95 at 1024 and 2.05 at 4096, unclamped. `steps` is at least
    1. Every operation rounds to float32 in the reference's order: guidance amplifies a last-bit
    difference here to 1e-4 in the latents.
    """
    if steps == 1:
        return (1.0, 0.0)
    shift = _f32(math.exp(0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024)))
    curve = [_f32(_f32(1 / _f32(shift + _f32(_f32(1 / s) - 1))) * shift) for s in _linear(steps)]
    noise = [_f32(1 - sigma) for sigma in curve]
    stretch = _f32(noise[-1] / _f32(1 - TERMINAL))
    return (*(_f32(1 - _f32(value / stretch)) for value in noise), 0.0)


def _linear(steps: int) -> list[float]:
    """`steps` float32 values from 1 down to, and without, 0.

    Each half is counted from its own end.
    """
    step = _f32(-1 / steps)
    half = (steps + 1) // 2
    return [
        _f32(1 + _f32(step * i)) if i < half else _f32(-_f32(step * (steps - i)))
        for i in range(steps)
    ]


def _f32(value: float) -> float:
    """The nearest float32."""
    return struct.unpack("f", struct.pack("f", value))[0]
