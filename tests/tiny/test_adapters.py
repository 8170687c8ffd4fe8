"""LoRAs on the toy: another one's weights are added for a while, and leave no trace."""

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from tiny import adapters
from tiny.transformer import Generator

LAYER = "transformer_blocks.0.attn1.to_q"


@pytest.fixture
def transformer() -> nn.Module:
    return Generator().transformer


def put_on(transformer: nn.Module, rank: int, *, everything: bool) -> None:
    adapters.add(transformer, rank, everything=everything, seed=0)
    for name, value in transformer.named_parameters():
        if ".lora_B." in name:
            nn.init.constant_(value, 0.01)


def test_another_loras_products_are_added_inside_and_gone_outside(transformer):
    other = Generator().transformer
    put_on(other, 2, everything=False)
    extra = {name: value.detach() for name, value in adapters.products(other)}
    put_on(transformer, 3, everything=True)
    layer = transformer.get_submodule(LAYER)
    assert isinstance(layer, LoraLayer)
    base = layer.get_base_layer()
    before = base.weight
    x = torch.randn(1, base.in_features)
    plain = layer(x)
    with adapters.added(transformer, extra):
        more = layer(x)
    assert base.weight is before
    assert torch.allclose(more - plain, x @ extra[LAYER].T, atol=1e-5)
    assert torch.equal(layer(x), plain)


def test_a_gradient_may_be_taken_after_the_other_lora_is_gone(transformer):
    put_on(transformer, 3, everything=True)
    layer = transformer.get_submodule(LAYER)
    x = torch.randn(1, layer.in_features, requires_grad=True)
    with adapters.added(transformer, {LAYER: torch.eye(layer.in_features)}):
        layer(x).sum().backward()
        inside = x.grad.clone()
        x.grad = None
        later = layer(x).sum()
    later.backward()
    assert torch.equal(x.grad, inside)
    trained = [name for name, value in transformer.named_parameters() if value.grad is not None]
    assert trained
    assert all(".lora_" in name for name in trained)


def test_a_teacher_without_its_own_lora_keeps_the_one_that_is_added(transformer):
    put_on(transformer, 3, everything=True)
    layer = transformer.get_submodule(LAYER)
    x = torch.randn(1, layer.in_features)
    extra = {LAYER: torch.eye(layer.in_features)}
    with adapters.without(transformer):
        bare = layer(x)
    with adapters.added(transformer, extra), adapters.without(transformer):
        assert torch.allclose(layer(x), bare + x, atol=1e-5)


def test_what_was_added_is_gone_after_an_error(transformer):
    put_on(transformer, 3, everything=True)
    base = transformer.get_submodule(LAYER).get_base_layer()
    before = base.weight
    with (
        pytest.raises(FloatingPointError),
        adapters.added(transformer, {LAYER: torch.eye(base.in_features)}),
    ):
        raise FloatingPointError
    assert base.weight is before


def test_without_puts_nothing_back_on_inside_another(transformer):
    put_on(transformer, 3, everything=False)
    layer = transformer.get_submodule(LAYER)
    x = torch.randn(1, layer.in_features)
    on = layer(x)
    with adapters.without(transformer):
        off = layer(x)
        with adapters.without(transformer):
            assert torch.equal(layer(x), off)
        assert torch.equal(layer(x), off)
    assert torch.equal(layer(x), on)
    assert not torch.equal(on, off)
