"""Whole passes of the embedded checkpoint: each lever against the plain way, and a step's cost."""

from dataclasses import replace

import pytest
import torch

from pipelines.models import PRO_AUDIO, PRO_VIDEO
from pipelines.plan import GUIDANCE_OFF
from pipelines.speed.levers import STOCK, USUAL
from pipelines.stages.denoise import batched
from pipelines.stages.guidance import calls_of
from pipelines.values import Placed, Prompts
from tests.stages.plans import small_plan
from tests.stages.test_denoise import calls, run
from tests.stages.test_guidance import NEGATIVE, POSITIVE, PROMPTS, plan
from tiny.sizes import VIDEO_CHANNELS

# Rows of a batch and distinct levels are matrix products of other shapes, over all steps of a pass.
CLOSE = 1e-4


def made(model, monkeypatch, levers, part, **options):
    monkeypatch.setattr(model, "levers", levers)
    return run(model, small_plan(mode="pro" if part.variant == "dev" else "fast"), part, **options)


def assert_close(found, wanted):
    for name in ("video", "audio"):
        ours, stock = getattr(found, name), getattr(wanted, name)
        assert float((ours - stock).abs().max()) <= CLOSE * float(stock.abs().max()), name


def test_a_fast_pass_is_that_of_diffusers_blocks_to_the_last_bit(tiny_model, monkeypatch):
    part = small_plan().base
    found, wanted = (made(tiny_model, monkeypatch, each, part) for each in (USUAL, STOCK))
    assert torch.equal(found.video, wanted.video)
    assert torch.equal(found.audio, wanted.audio)


def test_held_pictures_are_those_of_a_timestep_a_token(tiny_model, monkeypatch):
    latent = torch.randn(1, VIDEO_CHANNELS, 1, 1, 2, generator=torch.Generator().manual_seed(3))
    placed = (
        Placed(latent=latent, strength=0.9, frame=0, append=False),
        Placed(latent=latent, strength=1.0, frame=16, append=True),
    )
    part = small_plan().base
    assert_close(
        *(made(tiny_model, monkeypatch, each, part, placed=placed) for each in (USUAL, STOCK))
    )


def test_guidance_as_one_batch_is_guidance_one_by_one(tiny_model, monkeypatch):
    part = small_plan(mode="pro", num_inference_steps=3).base
    alone = replace(USUAL, batched_tokens=0)
    with calls(tiny_model.part("transformer:dev")) as seen:
        wanted = made(tiny_model, monkeypatch, alone, part)
    assert [call["hidden_states"].shape[0] for call in seen] == [1] * 4 * 3
    assert_close(made(tiny_model, monkeypatch, USUAL, part), wanted)
    together = replace(STOCK, batched_tokens=USUAL.batched_tokens)  # diffusers' blocks take it, too
    assert_close(made(tiny_model, monkeypatch, together, part), wanted)


@pytest.mark.parametrize(("most", "rows"), [(0, [1] * 4), (199, [1] * 4), (200, [2, 1, 1])])
def test_rows_go_together_as_far_as_their_tokens_may(most, rows):
    found = batched(calls_of(plan(PRO_VIDEO, PRO_AUDIO), PROMPTS), 100, most)
    assert [len(batch) for batch in found] == rows


def test_a_fast_step_is_one_row_and_texts_of_other_lengths_go_alone():
    fast = calls_of(plan(GUIDANCE_OFF, GUIDANCE_OFF), PROMPTS)
    assert [len(batch) for batch in batched(fast, 100, 10**6)] == [1]
    longer = replace(NEGATIVE, video=torch.zeros(1, 5, 0))
    guided = calls_of(plan(PRO_VIDEO, PRO_AUDIO), Prompts(positive=POSITIVE, negative=longer))
    assert [len(batch) for batch in batched(guided, 100, 10**6)] == [1] * 4
