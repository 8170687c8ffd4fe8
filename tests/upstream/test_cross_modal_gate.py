"""pipelines.upstream.cross_modal_gate: hooks, neutrality, and the day it may go."""

import pytest
import torch

from pipelines.upstream.cross_modal_gate import cross_modal_gate


@pytest.mark.parametrize("generation", ["2.0", "2.3", "2.5"])
def test_nothing_changes_while_every_token_has_the_same_noise_level(build, call, generation):
    model = build(generation)
    stock = call(model, use_cross_timestep=True)
    with cross_modal_gate(model):
        ours = call(model)
    for a, b in zip(ours, stock, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_cross_timestep", [True, False])
@pytest.mark.parametrize("generation", ["2.0", "2.3", "2.5"])
def test_stock_gate_still_differs(build, call, generation, use_cross_timestep):
    model = build(generation)
    stock = call(model, held=1.0, use_cross_timestep=use_cross_timestep)
    with cross_modal_gate(model):
        ours = call(model, held=1.0)
    assert max(float((a - b).abs().max()) for a, b in zip(ours, stock, strict=True)) > 1e-3


def test_no_hook_is_left_behind_even_after_an_error(build):
    model = build("2.3")
    with pytest.raises(RuntimeError, match="boom"), cross_modal_gate(model):
        raise RuntimeError("boom")
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_moved_target_is_reported(build):
    model = build("2.0")
    del model.av_cross_attn_video_a2v_gate
    with pytest.raises(RuntimeError, match="av_cross_attn_video_a2v_gate"), cross_modal_gate(model):
        pass
