"""The Triton kernels of a block against the same operations in plain torch.

On a GPU as they are; tests/speed/test_kernels.py runs this file on a CPU, where Triton interprets
them.
"""

import os

import pytest
import torch
from diffusers.models.normalization import RMSNorm
from torch import nn

from pipelines.speed.elementwise import Plain
from pipelines.speed.products import FP8, LARGEST, SMALLEST, quantised
from pipelines.speed.runs import levels_of

triton = pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="needs a GPU"),
]

ROWS, TOKENS, HEADS, HEAD = 2, 7, 3, 12  # nothing a power of two: the masks are at work
WIDTH = HEADS * HEAD
LEVELS = levels_of([(0, 2, 0.0), (5, 6, 0.25)], TOKENS)
# float32: the order of sums. bfloat16: torch rounds after each operation, a kernel once.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 3e-2}


@pytest.fixture
def device() -> torch.device:
    """CUDA, or the CPU where Triton interprets its kernels."""
    return torch.device("cpu" if INTERPRETED else "cuda")


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def draw(device, dtype):
    noise = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=noise).to(device, dtype)


def ours():
    from pipelines.speed.triton_elementwise import Triton

    return Triton()


def assert_near(found, wanted):
    limit = TOLERANCE[wanted.dtype] * float(wanted.float().abs().max())
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert float((found.float() - wanted.float()).abs().max()) <= limit


@pytest.mark.parametrize("levels", [None, LEVELS], ids=["one level", "three levels"])
def test_modulation_and_gates_are_the_plain_ones(draw, levels):
    norm = RMSNorm(WIDTH, eps=1e-6, elementwise_affine=False)
    count = 1 if levels is None else len(levels.shares)
    x, change = draw(ROWS, TOKENS, WIDTH), draw(ROWS, TOKENS, WIDTH)
    scale, shift, more, most = draw(ROWS, count, 4, WIDTH).unbind(2)
    assert_near(
        ours().modulated(norm, x, (scale, shift), levels),
        Plain().modulated(norm, x, (scale, shift), levels),
    )
    for found, wanted in zip(
        ours().modulated_twice(norm, x, (scale, shift), (more, most), levels),
        Plain().modulated_twice(norm, x, (scale, shift), (more, most), levels),
        strict=True,
    ):
        assert_near(found, wanted)
    assert_near(ours().gated(x, change, scale, levels), Plain().gated(x, change, scale, levels))


@pytest.mark.parametrize("rows", [1, ROWS], ids=["one table", "a table a row"])
def test_norm_and_rotation_are_the_plain_ones(draw, device, dtype, rows):
    norm = nn.RMSNorm(WIDTH, eps=1e-6).to(device, dtype)
    nn.init.normal_(norm.weight)
    angles = torch.randn(rows, TOKENS, HEADS, HEAD // 2, device=device).transpose(1, 2)
    x, tables = draw(ROWS, TOKENS, WIDTH), (angles.cos(), angles.sin())
    with torch.inference_mode():
        assert_near(
            ours().rotated(norm, x, tables, HEADS, "split"),
            Plain().rotated(norm, x, tables, HEADS, "split"),
        )


def test_heads_are_gated_as_plainly_however_they_lie(draw):
    logits = draw(ROWS, TOKENS, HEADS)
    for x in (draw(ROWS, TOKENS, HEADS, HEAD), draw(ROWS, HEADS, TOKENS, HEAD).transpose(1, 2)):
        assert_near(ours().head_gated(x, logits), Plain().head_gated(x, logits))


def test_tokens_are_rounded_to_fp8_as_plainly(draw, device):
    x = draw(ROWS, TOKENS, WIDTH)
    x[0, 1], x[0, 2] = 0, x[0, 2] * 1e-20
    found, wanted = ours().quantised(x), quantised(x)
    assert torch.equal(found.scale, wanted.scale)
    assert (found.data.dtype, found.data.shape) == (wanted.data.dtype, wanted.data.shape)
    if not INTERPRETED:
        assert torch.equal(found.data.view(torch.uint8), wanted.data.view(torch.uint8))


def test_and_are_scaled_to_the_last_bit_before_the_gpu_rounds_them(draw, device):
    """Triton's interpreter rounds to fp8 by itself, and wrongly: a carry is lost."""
    from pipelines.speed import kernels

    x = draw(ROWS, TOKENS, WIDTH)
    wide = torch.empty_like(x, dtype=torch.float32)
    scale = torch.empty(ROWS, TOKENS, device=device)
    kernels.quantise_rows[(ROWS * TOKENS,)](
        x, wide, scale, LARGEST=LARGEST, SMALLEST=SMALLEST, WIDTH=WIDTH, BLOCK=64
    )
    wanted = quantised(x)
    assert torch.equal(scale[..., None], wanted.scale)
    assert torch.equal(wide.to(FP8).view(torch.uint8), wanted.data.view(torch.uint8))
