"""Passes over finished latents in windows of time: seams, guides, seeds and the sound."""

from dataclasses import replace

import pytest
import torch

from ltx2.passes import detail_pass
from ltx2.progress import Progress
from pipelines.geometry import Size
from pipelines.models import CHECKPOINTS
from pipelines.plan import WindowPlan
from pipelines.speed.levers import STOCK
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_texts
from pipelines.stages.windows import in_windows
from pipelines.upstream.keyframe_position import appended_positions
from pipelines.values import Latents, Placed, Prompts
from tiny.sizes import AUDIO_CHANNELS, VIDEO_CHANNELS


@pytest.fixture(scope="module")
def prompts(tiny_model) -> Prompts:
    return Prompts(positive=encode_texts(tiny_model, [""], "distilled")[0])


def window_plan(frames: int, **changes) -> WindowPlan:
    """The detailer's windows over 64x64, without its LoRA, following the clip at its own size."""
    made = detail_pass(
        CHECKPOINTS["tiny"],
        variant="distilled",
        size=Size(64, 64),
        frames=8 * (frames - 1) + 1,
        fps=24,
        seed=7,
        reference_downscale=1,
    )
    return replace(made, denoise=replace(made.denoise, adapters=()), **changes)


def clip(frames: int) -> Latents:
    draw = torch.Generator().manual_seed(1)
    return Latents(
        video=torch.randn(1, VIDEO_CHANNELS, frames, 2, 2, generator=draw),
        audio=torch.randn(1, AUDIO_CHANNELS, 9, 16, generator=draw),
    )


def run(model, plan, latents, prompts):
    return in_windows(
        model, plan, latents, prompts, stage="detail", progress=Progress(), reference=latents.video
    )


def test_a_short_clip_is_one_plain_pass_that_follows_itself(tiny_model, prompts):
    plan, latents = window_plan(4), clip(4)
    made = run(tiny_model, plan, latents, prompts)
    reference = Placed(latent=latents.video, strength=1.0, frame=0, append=True, reference=True)
    expected = denoise(
        tiny_model,
        plan.denoise,
        prompts,
        stage="detail",
        noise=torch.Generator().manual_seed(plan.seed),
        init=latents,
        placed=(reference,),
        progress=Progress(),
    )
    assert torch.equal(made.video, expected.video)
    assert made.audio is latents.audio


def test_windows_cover_a_long_clip_and_keep_what_comes_before_their_overlap(tiny_model, prompts):
    plan, latents = window_plan(16), clip(16)
    assert plan.spans(16) == [(0, 7), (4, 11), (8, 15), (12, 16)]
    made = run(tiny_model, plan, latents, prompts)
    assert made.video.shape == latents.video.shape
    first = Latents(video=latents.video[:, :, :7], audio=latents.audio)
    alone = run(tiny_model, replace(plan, overlap=0), first, prompts)
    # Latent 4 is the later window's first one, which it drops; 5 and 6 are cross-faded.
    torch.testing.assert_close(made.video[:, :, :5], alone.video[:, :, :5])
    assert not torch.equal(made.video[:, :, 5:7], alone.video[:, :, 5:7])
    assert torch.equal(made.video, run(tiny_model, plan, latents, prompts).video)


def test_a_later_window_sees_what_was_made_half_held_and_follows_the_rest(
    tiny_model, prompts, monkeypatch
):
    monkeypatch.setattr(tiny_model, "levers", STOCK)  # whose blocks take a timestep a token
    plan, latents = window_plan(11), clip(11)
    transformer = tiny_model.part("transformer:distilled")
    seen = []
    hook = transformer.register_forward_pre_hook(
        lambda _m, _args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    try:
        run(tiny_model, plan, latents, prompts)
    finally:
        hook.remove()
    assert len(seen) == plan.steps(11) == 6
    first, later = seen[0], seen[3]
    cell = 4  # tokens of a latent frame
    assert first["hidden_states"].shape[1] == (7 + 7) * cell
    assert later["hidden_states"].shape[1] == (7 + 3 + 4) * cell
    level = later["timestep"][0] / later["timestep"][0, 0]
    assert level.tolist() == [1.0] * 7 * cell + [0.5] * 3 * cell + [0.0] * 4 * cell
    # What was made lies beside the latents it stands for, what is followed at those after it.
    positions = later["video_coords"]
    own = positions[:, :, : 7 * cell]
    assert torch.equal(positions[:, :, 7 * cell : 10 * cell], own[:, :, : 3 * cell])
    assert torch.equal(positions[:, :, 10 * cell :], own[:, :, 3 * cell :])
    assert all(call["isolate_modalities"] for call in seen)


def test_every_window_draws_from_a_seed_of_its_own(tiny_model, prompts):
    """The window at latent 4 starts from seed + 4, as a clip's first window with that seed does."""
    plan, latents = window_plan(11, hold=0.0), clip(11)
    made = run(tiny_model, plan, latents, prompts).video
    other = run(tiny_model, replace(plan, seed=plan.seed + 1), latents, prompts).video
    assert not torch.equal(made[:, :, :5], other[:, :, :5])
    assert not torch.equal(made[:, :, 7:], other[:, :, 7:])


def test_the_reference_must_be_given_where_the_plan_follows_one(tiny_model, prompts):
    plan, latents = window_plan(4), clip(4)
    with pytest.raises(ValueError, match="the reference must be given"):
        in_windows(tiny_model, plan, latents, prompts, stage="detail", progress=Progress())


def test_a_guide_from_a_later_latent_on_has_that_latents_own_positions(tiny_model):
    transformer = tiny_model.part("transformer:distilled")
    latent = torch.zeros(1, VIDEO_CHANNELS, 5, 2, 2)
    whole = Placed(latent=latent, strength=1, frame=0, append=True, reference=True)
    later = replace(whole, latent=latent[:, :, 3:], first_latent=3)
    everything = appended_positions(transformer, whole, 24.0)
    assert torch.equal(appended_positions(transformer, later, 24.0), everything[:, :, 3 * 4 :])
    smaller = appended_positions(transformer, replace(later, downscale=2), 24.0)
    assert torch.equal(smaller[:, 1:], 2 * everything[:, 1:, 3 * 4 :])
