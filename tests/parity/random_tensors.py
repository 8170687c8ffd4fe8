"""Tensors that are a function of a name.

The same numbers on every machine and with every library version. A splitmix64 counter, keyed by the
SHA-256 of the name, in exact integer arithmetic; one uniform per counter value.
"""

import hashlib
import math

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
_MANTISSA = 24  # bits kept, so that every value is exact in float32


def uniform(name: str, count: int) -> np.ndarray:
    """`count` float64 strictly between 0 and 1."""
    digest = hashlib.sha256(name.encode()).digest()
    state = np.frombuffer(digest, "<u8", count=1)[0]
    with np.errstate(over="ignore"):
        values = state + _GAMMA * np.arange(1, count + 1, dtype=np.uint64)
        for shift, factor in _MIX:
            values = (values ^ (values >> np.uint64(shift))) * factor
        values ^= values >> np.uint64(31)
    return ((values >> np.uint64(64 - _MANTISSA)).astype(np.float64) + 0.5) * 2.0**-_MANTISSA


def spread(name: str, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """float64 of mean 0 and variance 1, uniform."""
    count = math.prod(shape)
    return ((uniform(name, count) * 2 - 1) * math.sqrt(3)).reshape(shape)


def fan_in(shape: tuple[int, ...] | list[int]) -> int:
    """Inputs of one output of a weight (out, in, ...)."""
    return max(1, math.prod(shape[1:]))
