"""The vocoder's first stage is clamped by us because diffusers does not."""

import pytest
import torch
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from torch import nn

from pipelines.upstream.vocoder_clamp import clamp_first_stage

STAGE = {"hidden_channels": 16, "upsample_kernel_sizes": [4, 4], "upsample_factors": [2, 2]}
# 8 samples of the first stage per mel frame become 24 at three times the rate.
EXTENSION = {"hidden_channels": 16, "upsample_kernel_sizes": [12, 8], "upsample_factors": [6, 4]}


def extended():
    torch.manual_seed(0)
    module = LTX2VocoderWithBWE(
        in_channels=16,
        bwe_in_channels=16,
        **STAGE,
        **{f"bwe_{name}": value for name, value in EXTENSION.items()},
        filter_length=32,
        window_length=32,
        hop_length=8,
        num_mel_channels=8,
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


@torch.no_grad()
def first_stage(module):
    """The 16 kHz waveform inside the vocoder, for a loud mel."""
    heard = []
    hook = module.vocoder.register_forward_hook(lambda _module, _args, wave: heard.append(wave))
    module(30 * torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(1)))
    hook.remove()
    return heard[0]


def test_stock_first_stage_is_still_unclamped():
    assert first_stage(extended()).abs().max() > 1


def test_the_first_stage_is_clamped_and_nothing_else_changes():
    module, stock = extended(), extended()
    clamp_first_stage(module)
    assert torch.equal(first_stage(module), first_stage(stock).clamp(-1, 1))
    assert module.bwe_generator.final_act_fn is stock.bwe_generator.final_act_fn is None


def test_a_vocoder_without_extension_is_left_alone():
    module = LTX2Vocoder(in_channels=8, **STAGE)
    clamp_first_stage(module)
    assert module.final_act_fn == "tanh"


def test_a_first_stage_that_ends_otherwise_is_refused():
    module = extended()
    module.vocoder.final_act_fn = "tanh"
    with pytest.raises(RuntimeError, match="where a clamp belongs"):
        clamp_first_stage(module)
    del module.vocoder.final_act_fn
    with pytest.raises(RuntimeError, match="final_act_fn"):
        clamp_first_stage(module)
