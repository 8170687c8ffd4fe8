"""diffusers' group offload: what it cannot do, and what is told to it instead."""

import pytest
import torch
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

from pipelines.checkpoints.quantise import rounded
from pipelines.upstream import block_streaming
from pipelines.upstream.block_streaming import HOOK, blocks_streaming

CPU, META = torch.device("cpu"), torch.device("meta")


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.language_model = Inner()

    def forward(self, x):
        return self.language_model(x)


def hook(module):
    return HookRegistry.check_if_exists_or_initialize(module).get_hook(HOOK)


def test_stock_group_offload_still_misses_nested_blocks():
    outer = Outer()
    apply_group_offloading(
        outer, CPU, CPU, offload_type="block_level", num_blocks_per_group=1, use_stream=False
    )
    assert hook(outer) is not None
    assert [hook(layer) for layer in outer.language_model.layers] == [None] * 3


def test_every_block_has_a_hook_inside_and_none_afterwards():
    outer = Outer()
    x = torch.randn(2, 4)
    plain = outer(x)
    with blocks_streaming(outer.language_model.layers, CPU):
        assert all(hook(layer) is not None for layer in outer.language_model.layers)
        assert torch.equal(outer(x), plain)
    assert [hook(layer) for layer in outer.language_model.layers] == [None] * 3
    with pytest.raises(KeyError), blocks_streaming(outer.language_model.layers, CPU):
        raise KeyError
    assert [hook(layer) for layer in outer.language_model.layers] == [None] * 3
    assert torch.equal(outer(x), plain)


def test_each_block_fetches_the_next_and_only_the_first_fetches_itself():
    layers = Outer().language_model.layers
    with blocks_streaming(layers, CPU):
        hooks = [hook(layer) for layer in layers]
        block_streaming._chain(hooks)
        following = [each.next_group for each in hooks]
        assert following == [hooks[1].group, hooks[2].group, None]
        assert [each.group.onload_self for each in hooks] == [True, False, False]


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_a_block_of_rounded_weights_comes_to_another_device_in_inference_mode(kind):
    layers = nn.ModuleList([nn.Linear(4, 4, bias=False) for _ in range(3)])
    for layer in layers:
        layer.weight = nn.Parameter(rounded(layer.weight, kind), requires_grad=False)
    x = torch.randn(2, 4)
    with torch.inference_mode():
        plain = layers[0](x)
        with blocks_streaming(layers, CPU):
            assert torch.equal(layers[0](x), plain)
            group = hook(layers[0]).group
            # As to a GPU: no operation may confuse this device with the host.
            group.onload_device, group.non_blocking = META, True
            group.onload_()
            assert layers[0].weight.qdata.device == META
