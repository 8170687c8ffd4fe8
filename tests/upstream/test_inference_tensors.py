"""torchao's rounded weights and torch's inference mode."""

import pytest
import torch

from pipelines.checkpoints.quantise import rounded
from pipelines.upstream.inference_tensors import plain_mode

META = torch.device("meta")


@pytest.fixture(params=["fp8", "int8"])
def weight(request):
    noise = torch.Generator().manual_seed(0)
    return torch.nn.Parameter(
        rounded(torch.randn(8, 8, generator=noise), request.param), requires_grad=False
    )


def test_torchao_still_cannot_move_a_rounded_weight_in_inference_mode(weight):
    with torch.inference_mode():
        with pytest.raises(RuntimeError):
            weight.to(META)
        with pytest.raises(RuntimeError):
            weight.detach()
        with pytest.raises(AssertionError):
            weight.to(META, non_blocking=True)


def test_in_the_plain_mode_it_moves_also_within_inference_mode(weight):
    with torch.inference_mode():
        with plain_mode():
            moved = weight.to(META, non_blocking=True)
            alike = weight.detach()
        assert torch.is_inference_mode_enabled()
    assert moved.qdata.device == META
    assert alike.qdata.data_ptr() == weight.qdata.data_ptr()
    assert not moved.is_inference()
    assert not moved.requires_grad
