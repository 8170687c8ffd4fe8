"""The levers as settings and devices settle them."""

from typing import get_args

import pytest
import torch
from torch.nn.attention import SDPBackend

from ltx2 import settings as settings_module
from ltx2.engine import Engine
from ltx2.errors import ConfigError
from ltx2.settings import Settings
from pipelines.checkpoints.quantise import quantise
from pipelines.memory import heap
from pipelines.speed import levers as levers_module
from pipelines.speed.attention import attention_order, best, order, priority
from pipelines.speed.fp8 import products_in_fp8, spared
from pipelines.speed.levers import USUAL
from tests.speed.test_blocks import forward

CPU = torch.device("cpu")


def test_the_settings_are_the_levers():
    assert Settings().levers() == USUAL
    for name in ("Attention", "Blocks", "Layout", "Freed"):
        assert get_args(getattr(settings_module, name)) == get_args(getattr(levers_module, name))


@pytest.mark.parametrize(
    ("capability", "cudnn", "first"),
    [
        ((9, 0), 92000, "cudnn"),
        ((10, 0), 91501, "cudnn"),
        ((10, 3), 92000, "cudnn"),
        ((9, 0), 91500, "default"),  # it reads past the end of sequences
        ((9, 0), None, "default"),
        ((8, 0), 92000, "default"),
        ((12, 0), 92000, "default"),
    ],
)
def test_cudnn_comes_first_where_it_is_faster_and_right(capability, cudnn, first):
    assert best(capability, cudnn) == first


def test_every_other_kernel_stays_allowed_behind_the_first():
    assert priority("cudnn")[0] is SDPBackend.CUDNN_ATTENTION
    assert priority("flash")[0] is SDPBackend.FLASH_ATTENTION
    assert len(priority("math")) == 4
    with pytest.raises(ValueError, match="cudnn, flash, efficient, math"):
        priority("default")


def test_the_order_is_put_back():
    before = torch._C._get_sdp_priority_order()
    with attention_order("math", CPU):
        inside = torch._C._get_sdp_priority_order()
    assert inside[0] == int(SDPBackend.MATH.value)
    assert torch._C._get_sdp_priority_order() == before
    assert order("math", CPU)[0] == "math"
    assert order("efficient", CPU)[0] == "efficient"
    with attention_order("auto", CPU):
        assert torch._C._get_sdp_priority_order() == before


def test_an_engine_says_what_it_uses(engine):
    assert engine.levers == {
        "attention": "default",
        "blocks": "plain",
        "batched_tokens": 16_384,
        "vae_layout": "channels_last",
        "freed_memory": heap.now(),
        "fp8_products": False,
    }


def test_what_a_device_cannot_have_is_refused_before_anything_loads():
    for changes, told in (
        ({"blocks": "triton"}, "capability"),
        ({"fp8_products": True}, "LTX2_TRANSFORMER_QUANTISATION=fp8"),
    ):
        with pytest.raises(ConfigError, match=told):
            Engine.load("tiny", device="cpu", settings=Settings(**changes))


def test_compiled_kernels_are_kept_beside_the_other_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    Settings(cache=tmp_path).keep_kernels()
    seen = settings_module.process_environment()
    assert seen["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "kernels" / "graphs")
    assert seen["TRITON_CACHE_DIR"] == "elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


def test_products_in_fp8_round_more_and_are_put_back(build):
    model = build("2.3", num_layers=4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    exact = forward(model)[0]
    with pytest.raises(ValueError, match="rounded to fp8"), products_in_fp8(model):
        pass
    quantise(model, "transformer", "fp8")
    stored = forward(model)[0]
    with products_in_fp8(model):
        multiplied = forward(model)[0]
    assert torch.equal(forward(model)[0], stored)
    size = exact.norm()
    assert 0 < (stored - exact).norm() / size < (multiplied - exact).norm() / size < 0.1


def test_the_first_block_and_the_last_ones_are_spared():
    assert [block for block in range(48) if spared(block, 48)] == [0, 43, 44, 45, 46, 47]
