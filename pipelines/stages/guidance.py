"""One guided estimate: which forward passes a step needs and how they add up, in x0 space."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pipelines.plan import DenoisePlan, Guidance
from pipelines.values import Prompts, Text


@dataclass(frozen=True, slots=True)
class Estimate:
    """Denoised estimates of both streams, (1, tokens, channels), float32."""

    video: Tensor
    audio: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One forward pass.

    Which text it reads, which streams lose self-attention, whether the streams are cut apart.
    """

    text: Text
    perturb_video: bool = False
    perturb_audio: bool = False
    isolate: bool = False


def calls_of(plan: DenoisePlan, prompts: Prompts) -> list[Call]:
    """The forward passes of one step. A term that is off in both streams costs none."""
    video, audio = plan.video_guidance, plan.audio_guidance
    calls = [Call(text=prompts.positive)]
    if video.cfg != 1 or audio.cfg != 1:
        if prompts.negative is None:
            raise ValueError("the plan guides by a negative prompt, but none was encoded")
        calls.append(Call(text=prompts.negative))
    if video.stg != 0 or audio.stg != 0:
        calls.append(
            Call(text=prompts.positive, perturb_video=video.stg != 0, perturb_audio=audio.stg != 0)
        )
    if video.modality != 1 or audio.modality != 1:
        calls.append(Call(text=prompts.positive, isolate=True))
    return calls


def combined(estimates: Sequence[Estimate], plan: DenoisePlan) -> Estimate:
    """The guided estimate from those of `calls_of`, in its order."""
    video, audio = plan.video_guidance, plan.audio_guidance
    cond, *others = estimates
    terms = iter(others)
    negative = next(terms) if video.cfg != 1 or audio.cfg != 1 else None
    perturbed = next(terms) if video.stg != 0 or audio.stg != 0 else None
    isolated = next(terms) if video.modality != 1 or audio.modality != 1 else None
    return Estimate(
        *(
            _combine(
                scales,
                getattr(cond, stream),
                *(
                    None if other is None else getattr(other, stream)
                    for other in (negative, perturbed, isolated)
                ),
            )
            for stream, scales in (("video", video), ("audio", audio))
        )
    )


def _combine(
    scale: Guidance,
    cond: Tensor,
    negative: Tensor | None,
    perturbed: Tensor | None,
    isolated: Tensor | None,
) -> Tensor:
    """Sum of the guidance terms.

    The rescale keeps a share of the standard deviation of the whole tensor.
    """
    x0 = cond
    if negative is not None:
        x0 = x0 + (scale.cfg - 1) * (cond - negative)
    if perturbed is not None:
        x0 = x0 + scale.stg * (cond - perturbed)
    if isolated is not None:
        x0 = x0 + (scale.modality - 1) * (cond - isolated)
    if scale.rescale > 0:
        x0 = x0 * (scale.rescale * (cond.std() / x0.std()) + 1 - scale.rescale)
    return x0
