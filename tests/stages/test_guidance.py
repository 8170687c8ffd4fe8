"""pipelines.stages.guidance: which forward passes a step costs, and how they add up."""

import pytest
import torch

from pipelines.models import PRO_AUDIO, PRO_VIDEO
from pipelines.plan import GUIDANCE_OFF, DenoisePlan, Guidance
from pipelines.stages.guidance import Call, Estimate, calls_of, combined
from pipelines.values import Prompts, Text

EMPTY = torch.zeros(1, 0, 0)
POSITIVE = Text(video=EMPTY, audio=EMPTY, tokens=1, truncated=False)
NEGATIVE = Text(video=EMPTY, audio=EMPTY, tokens=2, truncated=False)
PROMPTS = Prompts(positive=POSITIVE, negative=NEGATIVE)


def plan(video: Guidance, audio: Guidance) -> DenoisePlan:
    return DenoisePlan(
        variant="dev", width=64, height=64, frames=9, fps=24.0, audio_latents=9,
        sigmas=(1.0, 0.0), sampler="euler", eta=0.0, noise_scale=1.0,
        video_guidance=video, audio_guidance=audio, stg_blocks=(1,), adapters=(), conditions=(),
    )  # fmt: skip


class Model:
    """Answers each kind of call with numbers of its own and keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Estimate:
        self.calls.append(call)
        kind = (
            1
            if call.text is NEGATIVE
            else 2
            if call.perturb_video or call.perturb_audio
            else 3
            if call.isolate
            else 0
        )
        noise = torch.Generator().manual_seed(kind)
        return Estimate(
            torch.randn(1, 6, 4, generator=noise), torch.randn(1, 5, 4, generator=noise)
        )


def guided(predict, plan, prompts):
    return combined([predict(call) for call in calls_of(plan, prompts)], plan)


def test_an_unguided_step_is_one_forward_pass():
    model = Model()
    out = guided(model, plan(GUIDANCE_OFF, GUIDANCE_OFF), Prompts(positive=POSITIVE))
    assert model.calls == [Call(text=POSITIVE)]
    assert torch.equal(out.video, Model()(Call(text=POSITIVE)).video)


def test_a_fully_guided_step_is_four():
    model = Model()
    guided(model, plan(PRO_VIDEO, PRO_AUDIO), PROMPTS)
    assert model.calls == [
        Call(text=POSITIVE),
        Call(text=NEGATIVE),
        Call(text=POSITIVE, perturb_video=True, perturb_audio=True),
        Call(text=POSITIVE, isolate=True),
    ]


def test_only_the_guided_stream_is_perturbed_and_an_audio_zero_stays_zero():
    model = Model()
    out = guided(model, plan(Guidance(stg=1.0), GUIDANCE_OFF), PROMPTS)
    assert model.calls[1] == Call(text=POSITIVE, perturb_video=True)
    plain = Model()(Call(text=POSITIVE))
    assert torch.equal(out.audio, plain.audio)
    assert not torch.equal(out.video, plain.video)


def test_terms_add_up_in_x0_space_and_rescale_restores_the_spread():
    scale = Guidance(cfg=3.0, stg=0.5, modality=2.0, rescale=0.7)
    out = guided(Model(), plan(scale, scale), PROMPTS).video.double()
    cond, negative, perturbed, isolated = (
        torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(kind)).double()
        for kind in range(4)
    )
    x0 = cond + 2 * (cond - negative) + 0.5 * (cond - perturbed) + (cond - isolated)
    expected = x0 * (0.7 * cond.std() / x0.std() + 0.3)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_a_plan_that_needs_a_negative_prompt_says_so():
    with pytest.raises(ValueError, match="negative prompt"):
        guided(Model(), plan(PRO_VIDEO, PRO_AUDIO), Prompts(positive=POSITIVE))
