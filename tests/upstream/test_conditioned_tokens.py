"""pipelines.upstream.conditioned_tokens: every token at its own noise level."""

from types import SimpleNamespace

import torch
from diffusers import LTX2ConditionPipeline

from pipelines.upstream.conditioned_tokens import hold, start, to_x0

LATENT, CLEAN, NOISE = torch.zeros(1, 3, 2), torch.ones(1, 3, 2), torch.full((1, 3, 2), 5.0)
MASK = torch.tensor([[[0.0], [0.4], [1.0]]])  # held, half held, free


def test_the_start_is_noised_by_what_is_not_held():
    state = start(LATENT, CLEAN, NOISE, MASK, 1.0)
    torch.testing.assert_close(state[0, :, 0], torch.tensor([1.0, 0.6 * 1 + 0.4 * 5, 5.0]))
    assert torch.equal(start(LATENT, CLEAN, NOISE, None, 1.0), NOISE)


def test_a_refine_start_mixes_noise_into_the_upscaled_clip():
    mixed = start(torch.full_like(LATENT, 2.0), CLEAN, NOISE, None, 0.909375)
    torch.testing.assert_close(mixed, torch.full_like(LATENT, 0.909375 * 5 + 0.090625 * 2))


def test_the_exact_velocity_gives_the_clean_picture_at_every_strength():
    sigma = 0.7
    noised = torch.lerp(CLEAN, NOISE, MASK * sigma)
    torch.testing.assert_close(to_x0(noised, NOISE - CLEAN, sigma, MASK), CLEAN)


def test_held_tokens_come_back_to_the_picture():
    blended = hold(torch.full_like(CLEAN, 3.0), CLEAN, MASK)
    torch.testing.assert_close(blended[0, :, 0], torch.tensor([1.0, 0.4 * 3 + 0.6, 3.0]))
    assert hold(NOISE, CLEAN, None) is NOISE


def test_stock_x0_still_uses_the_full_sigma():
    sigma = torch.tensor([0.7])
    noised = torch.lerp(CLEAN, NOISE, MASK * 0.7)
    scheduler = SimpleNamespace(sigmas=sigma)
    stock = LTX2ConditionPipeline.convert_velocity_to_x0(
        SimpleNamespace(scheduler=scheduler), noised, NOISE - CLEAN, 0
    )
    assert torch.allclose(stock[0, 2], CLEAN[0, 2])  # free tokens agree
    assert not torch.allclose(stock[0, 1], CLEAN[0, 1], atol=1e-2)
