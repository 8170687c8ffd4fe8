"""What the distilled model learns from is guided as the pipelines guide."""

from dataclasses import replace

import torch

from pipelines.models import PRO_VIDEO
from pipelines.plan import DenoisePlan
from pipelines.stages.guidance import Call, Estimate, calls_of, combined
from pipelines.values import Prompts, Text
from tiny import distilled

NOTHING = torch.zeros(1, 0, 0)
PROMPT, NONE = (Text(video=NOTHING, audio=NOTHING, tokens=n, truncated=False) for n in (1, 2))


def test_the_teacher_is_guided_as_pro_is_but_for_the_skipped_attention():
    draw = torch.Generator().manual_seed(0)
    now, *ways = (torch.randn(1, 6, 4, generator=draw) for _ in range(4))
    level = torch.tensor([0.8])

    def predict(call: Call) -> Estimate:
        way = ways[2] if call.isolate else ways[1] if call.text is NONE else ways[0]
        return Estimate(now - level * way, NOTHING)

    guidance = replace(PRO_VIDEO, stg=0.0)
    plan = DenoisePlan(
        variant="dev", width=64, height=64, frames=9, fps=24.0, audio_latents=9,
        sigmas=(1.0, 0.0), sampler="euler", eta=0.0, noise_scale=1.0, video_guidance=guidance,
        audio_guidance=replace(guidance, rescale=0.0), stg_blocks=(), adapters=(), conditions=(),
    )  # fmt: skip
    calls = calls_of(plan, Prompts(positive=PROMPT, negative=NONE))
    wanted = combined([predict(call) for call in calls], plan).video
    found = now - level * distilled.guided_way(level, now, *ways)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, now - level * ways[0], atol=0.1)


def test_clips_of_a_batch_are_rescaled_each_by_itself():
    draw = torch.Generator().manual_seed(1)
    now, *ways = (torch.randn(2, 6, 4, generator=draw) for _ in range(4))
    level = torch.tensor([0.9, 0.4])
    both = distilled.guided_way(level, now, *ways)
    second = distilled.guided_way(level[1:], now[1:], *(way[1:] for way in ways))
    assert torch.allclose(both[1:], second, atol=1e-6)
