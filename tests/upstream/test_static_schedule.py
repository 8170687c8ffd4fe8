"""pipelines.upstream.static_schedule: tables are used as they are; stock schedulers change them."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from pipelines import sigmas
from pipelines.plan import GUIDANCE_OFF, DenoisePlan
from pipelines.upstream.static_schedule import static_schedule

CPU = torch.device("cpu")


def plan(table, sampler="euler"):
    return DenoisePlan(
        variant="distilled", width=64, height=64, frames=9, fps=24.0, audio_latents=9, sigmas=table,
        sampler=sampler,
        eta=1.0 if sampler == "ancestral_euler" else 0.0, noise_scale=table[0],
        video_guidance=GUIDANCE_OFF, audio_guidance=GUIDANCE_OFF, stg_blocks=(), adapters=(),
        conditions=(),
    )  # fmt: skip


@pytest.mark.parametrize("sampler", ["euler", "ancestral_euler"])
@pytest.mark.parametrize(
    "table", [sigmas.DISTILLED, sigmas.REFINE, sigmas.anchor(40), sigmas.anchor(30)]
)
def test_the_table_is_used_as_it_is(table, sampler):
    scheduler = static_schedule(plan(table, sampler), CPU)
    assert torch.equal(scheduler.sigmas, torch.tensor(table))
    torch.testing.assert_close(
        scheduler.timesteps[: len(table) - 1], torch.tensor(table[:-1]) * 1000
    )


def test_an_euler_step_follows_the_velocity():
    scheduler = static_schedule(plan(sigmas.REFINE), CPU)
    x, v = torch.ones(1, 2, 3), torch.full((1, 2, 3), 2.0)
    stepped = scheduler.step(v, scheduler.timesteps[0], x, return_dict=False)[0]
    torch.testing.assert_close(stepped, x + v * (0.725 - 0.909375))


def test_stock_scheduler_still_appends_a_second_zero():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=list(sigmas.REFINE))
    assert scheduler.sigmas[-2:].tolist() == [0.0, 0.0]


def test_stock_dynamic_shifting_still_changes_explicit_tables():
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1
    )
    scheduler.set_timesteps(sigmas=list(sigmas.DISTILLED[:-1]), mu=2.05)
    assert not torch.allclose(scheduler.sigmas, torch.tensor(sigmas.DISTILLED), atol=1e-2)
