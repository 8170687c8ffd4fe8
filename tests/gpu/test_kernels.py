"""The Triton kernels of a block against the same operations in plain torch.

On a GPU as they are; tests/speed/test_kernels.py runs this file on a CPU, where Triton interprets
them.
"""

import os
from functools import partial

import numpy as np
import pytest
import torch
from diffusers.models.activations import GELU
from diffusers.models.normalization import RMSNorm
from torch import nn

from pipelines.speed.elementwise import Plain
from pipelines.speed.products import FP8, Wanted, quantised
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
EXACT, ROUNDED, BOTH = Wanted(True, False), Wanted(False, True), Wanted(True, True)


@pytest.fixture(autouse=True)
def rounding(monkeypatch):
    """As GPUs round to fp8: Triton's interpreter loses the carry from 1.9 to 2."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    theirs = interpreter._convert_float

    def converted(values, kind, other, mode):
        if str(other) != "fp8e4nv":
            return theirs(values, kind, other, mode)
        assert str(kind) == "fp32"
        wide = torch.from_numpy(np.asarray(values, dtype=np.float32).copy())
        return wide.to(FP8).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", converted)


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


def assert_fed(operation):
    """What `operation(ops, wanted)` makes is the plain result, and that same result rounded."""
    plain, exact = operation(Plain(), EXACT).exact, operation(ours(), EXACT)
    assert exact.tokens is None
    assert_near(exact.exact, plain)
    both, rounded = operation(ours(), BOTH), operation(ours(), ROUNDED)
    assert rounded.exact is None
    assert torch.equal(both.exact, exact.exact)
    for tokens in (both.tokens, rounded.tokens):
        assert_same(tokens, quantised(both.exact))


def assert_same(found, wanted):
    assert torch.equal(found.scale, wanted.scale)
    assert (found.data.dtype, wanted.data.dtype) == (FP8, FP8)
    assert torch.equal(found.data.view(torch.uint8), wanted.data.view(torch.uint8))


@pytest.mark.parametrize("levels", [None, LEVELS], ids=["one level", "three levels"])
def test_modulation_and_gates_are_the_plain_ones(draw, levels):
    norm = RMSNorm(WIDTH, eps=1e-6, elementwise_affine=False)
    count = 1 if levels is None else len(levels.shares)
    x, change = draw(ROWS, TOKENS, WIDTH), draw(ROWS, TOKENS, WIDTH)
    scale, shift, more, most = draw(ROWS, count, 4, WIDTH).unbind(2)
    assert_fed(lambda ops, to: ops.modulated(norm, x, (scale, shift), levels, to))
    rows = (scale, shift), (more, most)
    # Either of two, whatever the other is wanted in.
    assert_fed(lambda ops, to: ops.modulated_twice(norm, x, *rows, levels, (to, EXACT))[0])
    assert_fed(lambda ops, to: ops.modulated_twice(norm, x, *rows, levels, (ROUNDED, to))[1])
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
        assert_fed(partial(head_gated, x, logits))


def head_gated(x, logits, ops, to):
    return ops.head_gated(x, logits, to)


def test_the_activation_is_torchs(draw):
    activation = GELU(WIDTH, WIDTH, approximate="tanh")
    x = draw(ROWS, TOKENS, WIDTH) * 2
    assert_near(ours().activated(activation, x, BOTH).exact, activation.gelu(x))
    # Unrounded it is torch's own, to the last bit; rounded it is our kernel's.
    assert torch.equal(ours().activated(activation, x, EXACT).exact, activation.gelu(x))
    made = ours().activated(activation, x, BOTH)
    for tokens in (made.tokens, ours().activated(activation, x, ROUNDED).tokens):
        assert_same(tokens, quantised(made.exact))


def test_what_torch_made_is_rounded_as_it_is(draw):
    x = draw(ROWS, TOKENS, WIDTH)
    x[0, 1], x[0, 2] = 0, x[0, 2] * 1e-20
    assert_fed(lambda ops, to: ops.fed(x, to))
