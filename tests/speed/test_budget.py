"""How many kernels a block launches at full size, counted on the meta device."""

from collections import Counter
from copy import deepcopy

import pytest
import torch
from diffusers.models.transformers import transformer_ltx2
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.checkpoints.quantise import quantise
from pipelines.speed import block as our_block
from pipelines.speed.block import Call, block_forward
from pipelines.speed.elementwise import Plain
from pipelines.speed.fp8 import products_in_fp8
from pipelines.speed.products import FP8, Fed, Quantised
from pipelines.speed.runs import levels_of

WIDTH, AUDIO_WIDTH, TEXT, TOKENS, AUDIO = 4096, 2048, 1024, 3520, 126  # 640x352, 121 frames
FIRST = 220  # tokens of the first latent frame
PRODUCTS, ATTENTIONS = 34, 6  # of one block, as diffusers has it
STOCK = 196  # elementwise kernels of one block in diffusers, without a mask
FUSED = 50  # where each operation of `Elementwise` is one kernel
ROUNDED = 2  # contexts of the prompt; what else goes into products is rounded where it is made
# What reads and writes nothing.
VIEWS = ("view", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice", "select",
         "unbind", "split", "t.default", "detach", "_unsafe_view", "alias", "as_strided",
         "new_empty", "empty")  # fmt: skip
MATMULS = ("mm", "addmm", "bmm", "linear", "_scaled_mm")


class Kernels(TorchDispatchMode):
    """Counts operations that launch a kernel."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.")
        if not name.startswith(VIEWS):
            product = name.split(".")[0] in MATMULS
            self.counts["product" if product else "elementwise"] += 1
        return func(*args, **(kwargs or {}))


class OneKernel(Plain):
    """Each operation as one kernel that gives tensors of the right shapes.

    What there is beside them is counted here; that each is one launch of Triton's, in tests/gpu.
    """

    def modulated(self, norm, x, modulation, levels, to):
        return one(x, to)

    def modulated_twice(self, norm, x, one_of, other, levels, to):
        return one(x, to[0]), free(x, to[1])

    def gated(self, x, change, gate, levels):
        return x + 0

    def rotated(self, norm, x, tables, heads, kind):
        return (x + 0).unflatten(2, (heads, -1))

    def head_gated(self, x, logits, to):
        return one(x.flatten(2, 3), to)

    def activated(self, activation, x, to):
        return one(x, to)

    def fed(self, x, to):
        return Fed(x if to.exact else None, one(x, to).tokens) if to.rounded else Fed(x, None)


def one(x, to):
    """A result as one kernel gives it."""
    return free(x + 0, to)


def free(x, to):
    tokens = Quantised(tensor(*x.shape, dtype=FP8), tensor(*x.shape[:-1], 1, dtype=torch.float32))
    return Fed(x if to.exact else None, tokens if to.rounded else None)


def tensor(*shape, dtype=torch.bfloat16):
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.fixture
def attentions(monkeypatch):
    """Attention as one kernel, which it is on a GPU, and the arguments of each call.

    So with torch's own RMS norm of queries and keys.
    """
    calls = []

    def one(query, key, value, attn_mask=None, **_options):
        calls.append(attn_mask)
        return torch.empty_like(query)

    monkeypatch.setattr(transformer_ltx2, "dispatch_attention_fn", one)
    monkeypatch.setattr(our_block, "dispatch_attention_fn", one)
    monkeypatch.setattr(torch.nn.RMSNorm, "forward", lambda self, x: x * self.weight)
    return calls


@pytest.fixture(scope="module")
def block():
    with torch.device("meta"):
        return transformer_ltx2.LTX2VideoTransformerBlock(
            dim=WIDTH,
            num_attention_heads=32,
            attention_head_dim=128,
            cross_attention_dim=WIDTH,
            audio_dim=AUDIO_WIDTH,
            audio_num_attention_heads=32,
            audio_attention_head_dim=64,
            audio_cross_attention_dim=AUDIO_WIDTH,
            video_gated_attn=True,
            video_cross_attn_adaln=True,
            audio_gated_attn=True,
            audio_cross_attn_adaln=True,
            rope_type="split",
            perturbed_attn=True,
        ).to(torch.bfloat16)


def given(levels=1):
    def table(tokens, half):
        return (tensor(1, 32, tokens, half, dtype=torch.float32),) * 2

    return {
        "temb": tensor(1, levels, 9 * WIDTH),
        "temb_audio": tensor(1, 1, 9 * AUDIO_WIDTH),
        "temb_ca_scale_shift": tensor(1, levels, 4 * WIDTH),
        "temb_ca_audio_scale_shift": tensor(1, 1, 4 * AUDIO_WIDTH),
        "temb_ca_gate": tensor(1, 1, WIDTH),
        "temb_ca_audio_gate": tensor(1, 1, AUDIO_WIDTH),
        "temb_prompt": tensor(1, 1, 2 * WIDTH),
        "temb_prompt_audio": tensor(1, 1, 2 * AUDIO_WIDTH),
        "video_rotary_emb": table(TOKENS, 64),
        "audio_rotary_emb": table(AUDIO, 32),
        "ca_video_rotary_emb": table(TOKENS, 32),
        "ca_audio_rotary_emb": table(AUDIO, 32),
    }


STATES = (tensor(1, TOKENS, WIDTH), tensor(1, AUDIO, AUDIO_WIDTH))
TEXTS = (tensor(1, TEXT, WIDTH), tensor(1, TEXT, AUDIO_WIDTH))


def counted(run):
    with torch.no_grad(), Kernels() as kernels:  # under inference mode, operations come whole
        run()
    return kernels.counts


def ours(block, ops, levels=None):
    call, rows = Call(levels=levels), 1 if levels is None else len(levels.shares)
    values = given(rows)
    return counted(lambda: block_forward(block, ops, call, *STATES, *TEXTS, values))


def test_diffusers_block_launches_what_the_budget_is_measured_by(block, attentions):
    stock = counted(lambda: block(*STATES, *TEXTS, **given()))
    assert (stock["product"], len(attentions)) == (PRODUCTS, ATTENTIONS)
    assert stock["elementwise"] == STOCK


def test_our_plain_block_launches_no_more(block, attentions):
    counts = ours(block, Plain())
    assert (counts["product"], len(attentions)) == (PRODUCTS, ATTENTIONS)
    assert counts["elementwise"] <= STOCK
    assert attentions == [None] * ATTENTIONS  # no mask: every kernel may be taken


def test_with_a_kernel_an_operation_it_launches_less_than_half(block, attentions):
    counts = ours(block, OneKernel())
    assert counts["product"] == PRODUCTS
    assert counts["elementwise"] <= FUSED


def test_a_held_picture_costs_a_fused_block_no_kernel_more(block, attentions):
    levels = levels_of([(0, FIRST, 0.0)], TOKENS)
    assert ours(block, OneKernel(), levels) == ours(block, OneKernel())


def test_products_in_fp8_cost_two_kernels_and_no_product_more(block, attentions):
    exact = ours(block, OneKernel())
    blocks = nn.Module()  # the middle one of three is not spared
    blocks.transformer_blocks = nn.ModuleList([nn.Identity(), deepcopy(block), nn.Identity()])
    quantise(blocks, "transformer", "fp8")
    with products_in_fp8(blocks):
        counts = ours(blocks.transformer_blocks[1], OneKernel())
    assert counts["product"] == PRODUCTS
    assert counts["elementwise"] == exact["elementwise"] + ROUNDED
