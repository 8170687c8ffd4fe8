"""Products in bfloat16 leave weights, gradients and what goes on between layers in float32."""

import torch
from torch import nn

from tiny import half


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4, bias=False))


def test_linear_layers_multiply_in_bfloat16_and_answer_in_float32(monkeypatch):
    whole, rounded = two_layers(), two_layers()
    monkeypatch.setattr(half, "able", lambda: True)
    half.linears(rounded)
    values = torch.randn(32, 16)
    one, other = whole(values), rounded(values)
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().max() < 0.02
    for answer in (one, other):
        answer.square().mean().backward()
    for exact, near in zip(whole.parameters(), rounded.parameters(), strict=True):
        assert near.dtype == near.grad.dtype == torch.float32
        torch.testing.assert_close(near.grad, exact.grad, rtol=0.05, atol=2e-3)


def test_a_processor_without_bfloat16_trains_in_float32(monkeypatch):
    whole, same = two_layers(), two_layers()
    monkeypatch.setattr(half, "able", lambda: False)
    half.linears(same)
    values = torch.randn(32, 16)
    with half.convolutions():
        assert torch.equal(whole(values), same(values))


def test_state_is_named_as_before(monkeypatch):
    monkeypatch.setattr(half, "able", lambda: True)
    module = two_layers()
    names = list(module.state_dict())
    half.linears(module)
    assert list(module.state_dict()) == names
