"""pipelines.speed.fp8: products of rounded layers in fp8, each input rounded once."""

from collections import Counter

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torchao.float8.inference import Float8MMConfig
from torchao.quantization import PerRow
from torchao.quantization.quantize_.workflows.float8.float8_tensor import (
    QuantizeTensorToFloat8Kwargs,
)

from pipelines.checkpoints.quantise import quantise, rounded
from pipelines.speed.blocks import FastBlocks
from pipelines.speed.compiling import compiled
from pipelines.speed.elementwise import Plain
from pipelines.speed.fp8 import products_in_fp8, spared
from pipelines.speed.products import (
    FP8,
    Fp8Linear,
    Quantised,
    Wanted,
    fed,
    products,
    quantised,
    wanted,
)
from tests.speed.test_blocks import forward

WIDTH, OUT = 64, 48
# Two ways to round: half a step of three bits each, and the steps of a sum of 64 fall either way.
ROUNDED_TWICE = 0.04
INPUTS, PRODUCTS = 20, 28  # of a block of 2.3 with both streams; its gates are not rounded
KINDS = {
    "plain": ({}, INPUTS, PRODUCTS),
    # No query, no key: the values still need what goes in.
    "perturbed": ({"stg": ("video", "audio")}, INPUTS, PRODUCTS - 4),
    # Two attentions less, each with two inputs and an output.
    "isolated": ({"isolate_modalities": True}, INPUTS - 6, PRODUCTS - 8),
}


@pytest.fixture
def model(build):
    """Three blocks: the first and the last are spared."""
    made = build("2.3", num_layers=3)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.05)
    quantise(made, "transformer", "fp8")
    return made


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def layer(request):
    """One linear layer whose weight is rounded."""
    torch.manual_seed(0)
    made = nn.Linear(WIDTH, OUT).to(request.param).requires_grad_(False)
    made.weight = nn.Parameter(rounded(made.weight.data, "fp8"), requires_grad=False)
    return made


def drawn(dtype, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def by_torchao(layer, x):
    """The product as torchao does it when it is asked to round what goes in."""
    weight = layer.weight
    before = weight.act_quant_kwargs, weight.mm_config
    weight.act_quant_kwargs = QuantizeTensorToFloat8Kwargs(FP8, PerRow())
    weight.mm_config = Float8MMConfig(use_fast_accum=True)
    try:
        return layer(x)
    finally:
        weight.act_quant_kwargs, weight.mm_config = before


def in_fp8(layer, x):
    layer.__class__ = Fp8Linear
    try:
        return layer(x)
    finally:
        layer.__class__ = nn.Linear


def off(found, wanted):
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def test_a_product_is_that_of_the_rounded_values(layer):
    x = drawn(layer.bias.dtype, 2, 7, WIDTH)
    tokens = quantised(x)
    wanted = (tokens.data.float() * tokens.scale) @ layer.weight.dequantize(torch.float32).t()
    wanted += layer.bias.float()
    found = in_fp8(layer, x)
    assert (found.dtype, found.shape) == (x.dtype, (2, 7, OUT))
    assert off(found, wanted) < (1e-6 if x.dtype == torch.float32 else 4e-3)


def test_a_product_is_torchaos_own(layer):
    """In bfloat16 torchao rounds the scale to bfloat16, too, and cuts off what is above it."""
    x = drawn(layer.bias.dtype, 2, 7, WIDTH)
    wanted = by_torchao(layer, x)
    if x.dtype == torch.float32:
        assert off(in_fp8(layer, x), wanted) < 1e-6
    else:
        assert 0 < off(in_fp8(layer, x), wanted) < ROUNDED_TWICE
    assert off(in_fp8(layer, x), layer(x)) > 0.01  # the weight alone rounded is something else


def test_the_largest_value_of_a_token_becomes_fp8s_largest():
    x = drawn(torch.float32, 2, 7, WIDTH)
    x[0, 3] *= 1e-9
    x[1, 2] = 0
    tokens = quantised(x)
    assert tokens.scale.shape == (2, 7, 1)
    largest = tokens.data.float().abs().amax(dim=-1)
    assert float(largest[1, 2]) == 0.0
    largest[1, 2] = 448
    assert torch.equal(largest, torch.full((2, 7), 448.0))
    assert not torch.isfinite(quantised(x + torch.inf).data.float()).any()


def test_a_lora_beside_a_rounded_layer_sees_the_input_as_it_was(layer):
    x = drawn(layer.bias.dtype, 2, 7, WIDTH)
    layer.__class__ = Fp8Linear
    alone = layer(x)
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False)
    wrapped = LoraLinear(layer, "a", config, r=2, lora_alpha=2)
    change = wrapped.lora_B["a"](wrapped.lora_A["a"](x))
    assert wanted(wrapped) == Wanted(exact=True, rounded=True)
    (found,) = products(fed(x, wanted(wrapped)), wrapped)
    assert torch.equal(found, alone + change)
    tokens = quantised(x)
    seen = (tokens.data.float() * tokens.scale).to(x.dtype)
    assert not torch.equal(found, alone + wrapped.lora_B["a"](wrapped.lora_A["a"](seen)))
    wrapped.set_adapter([])  # which does not act: nobody reads the input as it was
    assert wanted(wrapped) == Wanted(exact=False, rounded=True)
    assert torch.equal(products(fed(x, wanted(wrapped)), wrapped)[0], alone)


class Fp8Operations(TorchDispatchMode):
    """Counts what is rounded to fp8, and the products of it."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype is FP8:
            self.counts["roundings"] += args[0].dtype is not FP8
        self.counts["products"] += func is torch.ops.aten._scaled_mm.default
        return out


@pytest.mark.parametrize("kind", KINDS)
def test_each_input_is_rounded_once_whatever_shares_it(model, kind):
    options, inputs, count = KINDS[kind]
    given = []

    def note(_layer, arguments):
        assert isinstance(arguments[1], Quantised)
        given.append(arguments[1])  # and so holds it: no id comes twice

    with products_in_fp8(model), Fp8Operations() as seen:
        for layer in model.transformer_blocks[1].modules():
            if isinstance(layer, Fp8Linear):
                layer.register_forward_pre_hook(note)
        forward(model, FastBlocks(Plain()), **options)
    assert seen.counts == {"roundings": inputs, "products": count}
    assert (len({id(x) for x in given}), len(given)) == (inputs, count)


def test_diffusers_blocks_multiply_so_too_and_give_the_same(model):
    with products_in_fp8(model):
        found, wanted = forward(model, FastBlocks(Plain())), forward(model)
    for ours, stock in zip(found, wanted, strict=True):
        assert torch.equal(ours, stock)


def test_compiled_blocks_are_two_graphs_those_that_are_spared_and_the_others(model):
    torch._dynamo.reset()
    graphs = CompileCounterWithBackend("aot_eager")
    with products_in_fp8(model):
        wanted = forward(model, FastBlocks(Plain()))
        found = forward(model, FastBlocks(Plain(), compiled(graphs)))
    torch._dynamo.reset()
    assert graphs.frame_count == 2
    for ours, plain in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_products_in_fp8_round_more_and_are_put_back(build):
    model = build("2.3", num_layers=4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    exact = forward(model)[0]
    with pytest.raises(ValueError, match="rounded to fp8"), products_in_fp8(model):
        pass
    quantise(model, "transformer", "fp8")
    stored = forward(model)[0]
    with products_in_fp8(model):
        multiplied = forward(model)[0]
    with pytest.raises(KeyError), products_in_fp8(model):
        raise KeyError
    assert torch.equal(forward(model)[0], stored)
    size = exact.norm()
    assert 0 < (stored - exact).norm() / size < (multiplied - exact).norm() / size < 0.1


def test_the_first_block_and_the_last_ones_are_spared():
    assert [block for block in range(48) if spared(block, 48)] == [0, 43, 44, 45, 46, 47]
