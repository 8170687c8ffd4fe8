"""pipelines.stages.denoise on the embedded checkpoint: what a pass costs, draws and gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from ltx2.progress import Progress
from pipelines.plan import Guidance
from pipelines.sigmas import REFINE_TINY
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from pipelines.values import Latents, Placed
from tests.stages.plans import small_plan
from tiny.sizes import AUDIO_BASE, AUDIO_CHANNELS, VIDEO_CHANNELS


@contextmanager
def calls(module: torch.nn.Module) -> Iterator[list[dict[str, Any]]]:
    """The keyword arguments of every forward pass inside the block."""
    seen: list[dict[str, Any]] = []
    hook = module.register_forward_pre_hook(
        lambda _m, _args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def run(model, plan, part, **options):
    return denoise(
        model,
        part,
        encode_prompts(model, plan)["base"],
        stage="base",
        noise=torch.Generator().manual_seed(plan.seed),
        step_noise=torch.Generator().manual_seed(plan.ancestral_seed),
        progress=Progress(),
        **options,
    )


def test_fast_is_one_forward_pass_of_one_row_a_step(tiny_model):
    plan = small_plan()
    with calls(tiny_model.part("transformer:distilled")) as seen:
        run(tiny_model, plan, plan.base)
    assert len(seen) == plan.base.steps == 8
    assert all(call["hidden_states"].shape[0] == 1 for call in seen)
    assert all(call.get("encoder_attention_mask") is None for call in seen)


def test_pro_is_four_rows_in_three_forward_passes_a_step(tiny_model):
    plan = small_plan(mode="pro", num_inference_steps=3)
    with calls(tiny_model.part("transformer:dev")) as seen:
        run(tiny_model, plan, plan.base)
    assert [call["hidden_states"].shape[0] for call in seen] == [2, 1, 1] * 3
    assert sum(bool(call["isolate_modalities"]) for call in seen) == 3
    assert sum(call["spatio_temporal_guidance_blocks"] == [1] for call in seen) == 3


def test_an_unconditioned_pass_sends_one_timestep_for_all_tokens(tiny_model):
    plan = small_plan()
    with calls(tiny_model.part("transformer:distilled")) as seen:
        run(tiny_model, plan, plan.base)
    assert {call["timestep"].shape for call in seen} == {torch.Size([1, 1])}
    assert [round(float(call["timestep"]), 3) for call in seen] == [
        1000 * s for s in plan.base.sigmas[:-1]
    ]


def test_a_refine_pass_starts_from_the_upscaled_clip_under_its_first_sigma(tiny_model):
    plan = small_plan()
    shape = (1, VIDEO_CHANNELS, 3, 2, 4)
    init = Latents(video=torch.randn(shape), audio=torch.randn(1, AUDIO_CHANNELS, 18, 16))
    with calls(tiny_model.part("transformer:distilled")) as seen:
        run(tiny_model, plan, plan.refine, init=init)
    noise = torch.Generator().manual_seed(plan.seed)
    drawn = torch.randn(1, 24, VIDEO_CHANNELS, generator=noise)
    drawn_audio = torch.randn(1, 18, AUDIO_BASE, generator=noise)
    level = plan.refine.sigmas[0]
    assert level == plan.refine.noise_scale == REFINE_TINY[0]
    video = init.video.flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen[0]["hidden_states"], level * drawn + (1 - level) * video)
    audio = init.audio.transpose(1, 2).flatten(2)
    torch.testing.assert_close(
        seen[0]["audio_hidden_states"], level * drawn_audio + (1 - level) * audio
    )


def test_noise_is_drawn_packed_video_first_then_audio(tiny_model):
    plan = small_plan()
    with calls(tiny_model.part("transformer:distilled")) as seen:
        run(tiny_model, plan, plan.base)
    noise = torch.Generator().manual_seed(plan.seed)
    tokens = seen[0]["hidden_states"].shape[1]
    assert torch.equal(
        seen[0]["hidden_states"], torch.randn(1, tokens, VIDEO_CHANNELS, generator=noise)
    )
    assert torch.equal(
        seen[0]["audio_hidden_states"], torch.randn(1, 18, AUDIO_BASE, generator=noise)
    )


def test_the_ancestral_sampler_follows_its_own_seed(tiny_model):
    plan = small_plan()
    ancestral = replace(plan.base, sampler="ancestral_euler", eta=1.0)
    first, again = (run(tiny_model, plan, ancestral) for _ in range(2))
    assert torch.equal(first.video, again.video)
    other = run(tiny_model, replace(plan, ancestral_seed=1), ancestral)
    assert not torch.equal(first.video, other.video)
    assert not torch.equal(first.video, run(tiny_model, plan, plan.base).video)


@pytest.mark.parametrize("frame", [16, 5])
def test_an_appended_picture_is_taken_off_the_result(tiny_model, frame):
    plan = small_plan()
    picture = Placed(
        latent=torch.randn(1, VIDEO_CHANNELS, 1, 1, 2), strength=1.0, frame=frame, append=True
    )
    with calls(tiny_model.part("transformer:distilled")) as seen:
        latents = run(tiny_model, plan, plan.base, placed=(picture,))
    assert latents.video.shape == (1, VIDEO_CHANNELS, 3, 1, 2)
    assert seen[0]["hidden_states"].shape[1] == 3 * 2 + 2
    assert seen[0]["video_coords"][0, 0, -1].tolist() == pytest.approx(
        [frame / 24, (frame + 1) / 24]
    )
    assert seen[0]["timestep"][0].tolist() == [1000.0, 0.0]  # of the clip, of the picture


def test_strength_lies_between_free_and_held(tiny_model):
    plan = small_plan()
    latent = torch.randn(1, VIDEO_CHANNELS, 1, 1, 2)

    def distance(strength):
        placed = Placed(latent=latent, strength=strength, frame=0, append=False)
        got = run(tiny_model, plan, plan.base, placed=(placed,)).video[:, :, :1]
        return float((got - latent).abs().mean())

    held, half, loose = (distance(strength) for strength in (1.0, 0.5, 0.1))
    assert held < 1e-5
    assert held < half < loose


def test_stg_changes_the_clip_and_an_audio_zero_stays_zero(tiny_model):
    plan = small_plan(mode="pro", num_inference_steps=2)
    plain = replace(plan.base, video_guidance=Guidance(), audio_guidance=Guidance())
    guided = replace(plain, video_guidance=Guidance(stg=1.0))
    with calls(tiny_model.part("transformer:dev")) as seen:
        with_stg = run(tiny_model, plan, guided)
    assert len(seen) == 4
    assert not torch.equal(with_stg.video, run(tiny_model, plan, plain).video)
    audio = [block.audio_attn1 for block in tiny_model.part("transformer:dev").transformer_blocks]
    assert not any(module._forward_pre_hooks for module in audio)


def test_a_held_sound_is_clean_at_every_step_and_stretched_to_the_models_time(tiny_model):
    plan = small_plan(temporal_upscaler=True)
    part = plan.refine
    assert (part.sound, part.audio_latents, plan.base.audio_latents) == ("held", 14, 18)
    init = Latents(
        video=torch.randn(1, VIDEO_CHANNELS, 5, 2, 4), audio=torch.randn(1, AUDIO_CHANNELS, 18, 16)
    )
    with calls(tiny_model.part("transformer:distilled")) as seen:
        made = run(tiny_model, plan, part, init=init)
    assert made.audio is init.audio
    packed = init.audio.transpose(1, 2).flatten(2)
    for call in seen:
        assert not call["isolate_modalities"]
        assert float(call["audio_sigma"]) == float(call["audio_timestep"]) == 0.0
        heard = call["audio_hidden_states"]
        assert heard.shape == (1, 14, AUDIO_BASE)
        torch.testing.assert_close(heard[:, [0, -1]], packed[:, [0, -1]])
        assert call["audio_coords"].shape[2] == 14
    draw = torch.Generator().manual_seed(plan.seed)
    noise = torch.randn(1, 5 * 2 * 4, VIDEO_CHANNELS, generator=draw)
    level = part.sigmas[0]
    expected = level * noise + (1 - level) * init.video.flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen[0]["hidden_states"], expected)
    silent = replace(init, audio=torch.zeros_like(init.audio))
    assert not torch.equal(run(tiny_model, plan, part, init=silent).video, made.video)


def test_an_absent_sound_changes_nothing(tiny_model):
    plan = small_plan()
    part = replace(small_plan(detailer=True).detail.denoise, adapters=())
    assert part.sound == "absent"
    init = Latents(
        video=torch.randn(1, VIDEO_CHANNELS, 3, 2, 4), audio=torch.randn(1, AUDIO_CHANNELS, 18, 16)
    )
    with calls(tiny_model.part("transformer:distilled")) as seen:
        made = run(tiny_model, plan, part, init=init)
    assert all(call["isolate_modalities"] for call in seen)
    assert made.audio is init.audio
    other = replace(init, audio=torch.randn(1, AUDIO_CHANNELS, 18, 16))
    assert torch.equal(run(tiny_model, plan, part, init=other).video, made.video)


def test_a_pass_without_a_sound_of_its_own_needs_something_to_start_from(tiny_model):
    plan = small_plan()
    part = replace(small_plan(detailer=True).detail.denoise, adapters=())
    with pytest.raises(ValueError, match="needs latents to start from"):
        run(tiny_model, plan, part)
