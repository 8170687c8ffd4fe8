"""The levers as settings and devices settle them."""

from typing import get_args

import pytest
import torch
from torch.nn.attention import SDPBackend

from ltx2 import settings as settings_module
from ltx2.engine import Engine
from ltx2.errors import ConfigError
from ltx2.settings import Settings
from pipelines.memory import heap
from pipelines.speed import fp8
from pipelines.speed import levers as levers_module
from pipelines.speed.attention import attention_order, best, order, priority
from pipelines.speed.levers import USUAL

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
        (
            {"fp8_products": True, "transformer_quantisation": "fp8", "blocks": "stock"},
            "leave LTX2_BLOCKS at auto",
        ),
    ):
        with pytest.raises(ConfigError, match=told):
            Engine.load("tiny", device="cpu", settings=Settings(**changes))


def test_products_in_fp8_are_bfloat16_on_a_gpu():
    """The type is looked at first, so that no GPU is asked here."""
    with pytest.raises(ValueError, match="not float32: LTX2_DTYPE=bfloat16"):
        fp8.check(torch.device("cuda"), torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        fp8.check(CPU, dtype)


def test_compiled_kernels_are_kept_beside_the_other_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    Settings(cache=tmp_path).keep_kernels()
    seen = settings_module.process_environment()
    assert seen["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "kernels" / "graphs")
    assert seen["TRITON_CACHE_DIR"] == "elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
