"""pipelines.upstream.perturbed_attention: one stream at a time, never a no-op, when it may go."""

import pytest
import torch

from pipelines.upstream.perturbed_attention import perturbed_streams


def perturbed(model, call, **streams):
    with perturbed_streams(model, (1,), **streams) as blocks:
        return call(model, spatio_temporal_guidance_blocks=blocks, isolate_modalities=True)


def test_only_the_named_stream_is_perturbed(build, call):
    model = build("2.3")
    # Cut apart, so that one stream cannot change the other.
    plain = call(model, isolate_modalities=True)
    video_only = perturbed(model, call, video=True, audio=False)
    audio_only = perturbed(model, call, video=False, audio=True)
    assert float((video_only[0] - plain[0]).abs().max()) > 1e-3
    assert torch.equal(video_only[1], plain[1])
    assert torch.equal(audio_only[0], plain[0])
    assert float((audio_only[1] - plain[1]).abs().max()) > 1e-3


def test_stock_stg_still_perturbs_both_streams(build, call):
    model = build("2.3")
    plain = call(model, isolate_modalities=True)
    stock = call(model, spatio_temporal_guidance_blocks=[1], isolate_modalities=True)
    both = perturbed(model, call, video=True, audio=True)
    for index in (0, 1):
        assert float((stock[index] - plain[index]).abs().max()) > 1e-3
        assert torch.equal(stock[index], both[index])


def test_a_model_that_ignores_stg_is_refused(build, call):
    model = build("2.0", perturbed_attn=False)
    stock = call(model, spatio_temporal_guidance_blocks=[1])
    assert torch.equal(stock[0], call(model)[0])  # the silent no-op that is refused
    with (
        pytest.raises(RuntimeError, match="perturbed_attn=False"),
        perturbed_streams(model, (1,), video=True, audio=True),
    ):
        pass


def test_blocks_beyond_the_model_are_refused(build):
    with (
        pytest.raises(ValueError, match="blocks 0 to 1"),
        perturbed_streams(build("2.0"), (29,), video=True, audio=True),
    ):
        pass


def test_no_hook_is_left_behind_even_after_an_error(build):
    model = build("2.3")
    with pytest.raises(KeyError), perturbed_streams(model, (1,), video=True, audio=False):
        raise KeyError
    assert not any(module._forward_pre_hooks for module in model.modules())
