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
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch import nn

from pipelines.checkpoints.quantise import quantise
from pipelines.speed.block import Call, block_forward
from pipelines.speed.elementwise import Plain
from pipelines.speed.fp8 import products_in_fp8
from pipelines.speed.products import FP8, Wanted, quantised
from pipelines.speed.runs import levels_of

triton = pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="needs a GPU"),
]

ROWS, TOKENS, HEADS, HEAD = 2, 4, 3, 12  # nothing a power of two: the masks are at work
WIDTH = HEADS * HEAD
LEVELS = levels_of([(0, 1, 0.0), (2, 3, 0.25)], TOKENS)
# float32: the order of sums. bfloat16: torch rounds after each operation, a kernel once.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 3e-2}
NARROW = {"fp8e4nv": (FP8, torch.uint8), "bf16": (torch.bfloat16, torch.uint16)}
# Ada's conversion goes by float16, so that a value may be rounded twice.
ADA = not INTERPRETED and torch.cuda.is_available() and torch.cuda.get_device_capability() == (8, 9)
STEPS = 1 if ADA else 0  # of fp8, by which a kernel's rounding may be off plain torch's
EXACT, ROUNDED, BOTH = Wanted(True, False), Wanted(False, True), Wanted(True, True)


@pytest.fixture(autouse=True)
def rounding(monkeypatch):
    """As GPUs round: Triton's interpreter cuts off, and rounds to fp8 without a carry."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    theirs = interpreter._convert_float

    def converted(values, kind, other, mode):
        if str(kind) != "fp32" or str(other) not in NARROW:
            return theirs(values, kind, other, mode)
        narrow, bits = NARROW[str(other)]
        wide = torch.from_numpy(np.asarray(values, dtype=np.float32).copy())
        return wide.to(narrow).view(bits).numpy()

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
    assert steps_apart(found.data, wanted.data) <= STEPS


def steps_apart(found, wanted):
    """The most values of fp8 that lie between two of the same place."""
    # Of one sign, values of fp8 are in the order of their bits; the negative ones count down.
    bits = (each.view(torch.uint8).int() for each in (found, wanted))
    places = [torch.where(each < 128, each, 128 - each) for each in bits]
    return int((places[0] - places[1]).abs().max())


def test_steps_of_fp8_are_counted_across_zero():
    def apart(*values):
        return steps_apart(*(torch.tensor([each]).to(FP8) for each in values))

    smallest = 2**-9
    assert apart(-448.0, -448.0) == apart(0.0, -0.0) == 0
    assert apart(448.0, 416.0) == apart(0.0, -smallest) == 1
    assert apart(smallest, -smallest) == 2


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


def test_a_block_with_products_in_fp8_is_the_plain_one(device):
    """In bfloat16, which a GPU's product gives alone, torch rounds after each operation; that moves
    one value of twenty by a step of fp8, about as far off as rounding to fp8 itself.
    """
    kind = torch.float32 if INTERPRETED else torch.bfloat16
    blocks = three_blocks().to(device, kind)
    quantise(blocks, "transformer", "fp8")
    noise = torch.Generator().manual_seed(2)

    def drawn(*shape, dtype=kind):
        return torch.randn(1, *shape, generator=noise).to(device, dtype)

    def tables(tokens, half):
        angles = drawn(tokens, 2, half, dtype=torch.float32).transpose(1, 2)
        return angles.cos(), angles.sin()

    video, audio, text = TOKENS, 3, 2
    given = {
        "temb": drawn(1, 9 * 64),
        "temb_audio": drawn(1, 9 * 32),
        "temb_ca_scale_shift": drawn(1, 4 * 64),
        "temb_ca_audio_scale_shift": drawn(1, 4 * 32),
        "temb_ca_gate": drawn(1, 64),
        "temb_ca_audio_gate": drawn(1, 32),
        "temb_prompt": drawn(1, 2 * 64),
        "temb_prompt_audio": drawn(1, 2 * 32),
        "video_rotary_emb": tables(video, 16),
        "audio_rotary_emb": tables(audio, 8),
        "ca_video_rotary_emb": tables(video, 8),
        "ca_audio_rotary_emb": tables(audio, 8),
    }
    states = drawn(video, 64), drawn(audio, 32), drawn(text, 64), drawn(text, 32)

    def run(ops):
        with torch.inference_mode():
            return block_forward(
                blocks.transformer_blocks[1], ops, Call(levels=None), *states, given
            )

    exact = run(Plain())
    with products_in_fp8(blocks):
        found, wanted = run(ours()), run(Plain())
    for fused, plain, stored in zip(found, wanted, exact, strict=True):
        rounding = (plain - stored).float().norm()
        assert 0 < rounding < 0.2 * stored.float().norm()
        assert (fused - plain).float().norm() < rounding * (0.01 if kind is torch.float32 else 1.5)


def three_blocks():
    """The one in the middle is not spared."""
    torch.manual_seed(0)
    block = LTX2VideoTransformerBlock(
        dim=64,
        num_attention_heads=2,
        attention_head_dim=32,
        cross_attention_dim=64,
        audio_dim=32,
        audio_num_attention_heads=2,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=32,
        video_gated_attn=True,
        video_cross_attn_adaln=True,
        audio_gated_attn=True,
        audio_cross_attn_adaln=True,
        rope_type="split",
        perturbed_attn=True,
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.1)
    model = nn.Module()
    model.transformer_blocks = nn.ModuleList([nn.Identity(), block, nn.Identity()])
    return model.requires_grad_(False)
