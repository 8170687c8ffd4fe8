"""What an option may cost in quality: the gate that `benchmarks.compare` holds two sides to.

Limits leave room for another machine and another clip, not for another kind of error: an option
that only rounds otherwise stays far above what the eye could see, and one that stores or multiplies
in fewer bits has the number that it is known for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limit:
    """Of a comparison: the largest error of the latents of a step, as a share of their size, and
    the least PSNR of a frame in dB.
    """

    latents: float
    psnr: float

    def or_weaker(self, other: "Limit") -> "Limit":
        """What two options together may cost: as much as the one that costs more."""
        return Limit(max(self.latents, other.latents), min(self.psnr, other.psnr))


SAME = Limit(0, 99)  # to the last bit
ROUNDED_OTHERWISE = Limit(1e-3, 60)
# By the variable that sets an option. Each is off by itself, or rounds otherwise at most.
LIMITS = {
    "LTX2_RESIDENCY": SAME,
    "LTX2_FREED_MEMORY": SAME,
    "LTX2_ATTENTION": ROUNDED_OTHERWISE,
    "LTX2_BLOCKS": ROUNDED_OTHERWISE,
    "LTX2_BATCHED_TOKENS": ROUNDED_OTHERWISE,
    "LTX2_VAE_LAYOUT": ROUNDED_OTHERWISE,
    "LTX2_DTYPE": Limit(0.05, 40),
    "LTX2_TEXT_ENCODER_QUANTISATION": Limit(0.05, 38),
    "LTX2_TRANSFORMER_QUANTISATION": Limit(0.15, 33),
    "LTX2_FP8_PRODUCTS": Limit(0.1, 35),
}


def limit_for(one: Mapping[str, str], other: Mapping[str, str]) -> Limit | None:
    """What a side with these variables may differ by from one with those; None where an option is
    not known, and so has no limit.
    """
    differing = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    if not differing <= LIMITS.keys():
        return None
    limit = SAME
    for name in differing:
        limit = limit.or_weaker(LIMITS[name])
    return limit


def problems(found: Mapping[str, Any], limit: Limit) -> Sequence[str]:
    """What is further off than it may be."""
    told: list[str] = []
    if min(found["psnr"]) < limit.psnr:
        told.append(f"a frame has {min(found['psnr']):.2f} dB; {limit.psnr:g} are the least")
    if max(found["latent_error"]) > limit.latents:
        worst = max(found["latent_error"])
        told.append(f"latents are off by {worst:.3g}; {limit.latents:g} is the most")
    return told
