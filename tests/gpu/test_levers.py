"""Levers on a GPU in bfloat16: each against the plain way on one small real transformer."""

from contextlib import ExitStack, contextmanager
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType

from pipelines.checkpoints.quantise import quantise
from pipelines.speed.attention import attention_order, order
from pipelines.speed.blocks import FastBlocks
from pipelines.speed.compiling import compiled
from pipelines.speed.elementwise import Plain
from pipelines.speed.fp8 import check, products_in_fp8
from pipelines.speed.runs import levels_of
from pipelines.speed.transfer import PIECE, to_host
from pipelines.speed.vae_layout import laid_out, turn_weights
from pipelines.upstream.cross_modal_gate import cross_modal_gate
from pipelines.upstream.perturbed_attention import perturbed_streams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

CUDA, HALF = torch.device("cuda"), torch.bfloat16
# Two ways of rounding to bfloat16 through three blocks, as a share of the root mean square.
CLOSE = 0.05
GRID, AUDIO = (3, 2, 3), 5
TOKENS, FIRST = 18, 6
KERNELS = {"modulate", "gate", "rotate", "gate_heads", "activate", "quantise_rows"}
KINDS = {
    "words": {},
    "two rows": {"rows": 2},
    "perturbed": {"stg": True},
    "isolated": {"isolate_modalities": True},
    "a picture": {"shares": [(0, FIRST, 0.0)]},
}


@pytest.fixture(scope="module")
def model():
    """A transformer of 2.3 with every parameter random, so that no branch does nothing."""
    from diffusers import LTX2VideoTransformer3DModel

    torch.manual_seed(0)
    made = LTX2VideoTransformer3DModel(
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=64,
        cross_attention_dim=128,
        audio_num_attention_heads=2,
        audio_attention_head_dim=32,
        audio_cross_attention_dim=64,
        caption_channels=20,
        perturbed_attn=True,
        rope_type="split",
        use_prompt_embeddings=False,
        gated_attn=True,
        audio_gated_attn=True,
        cross_attn_mod=True,
        audio_cross_attn_mod=True,
    )
    for name, parameter in made.named_parameters():
        if parameter.ndim >= 2 and "scale_shift_table" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, mean=float("norm" in name), std=0.1)
    return made.to(CUDA, HALF).eval().requires_grad_(False)


def forward(model, fast=None, *, stg=False, shares=None, rows=1, **options):
    """Velocities of both streams by diffusers' blocks, or by ours where `fast` is given."""
    noise = torch.Generator().manual_seed(1)

    def drawn(*shape):
        return torch.randn(rows, *shape, generator=noise).to(CUDA, HALF)

    level = torch.full((rows, 1), 700.0, device=CUDA)
    timestep = level
    if shares is not None:
        levels = levels_of(shares, TOKENS)
        share = torch.tensor([levels.shares], device=CUDA)
        if fast is None:
            share = share[:, levels.rows(CUDA).long()]
        else:
            fast.levels = levels
        timestep = level * share
    streams = {"video": True, "audio": True}
    with torch.inference_mode(), cross_modal_gate(model):
        way = (fast or Stock()).installed(model)
        with way, (fast or Stock()).perturbing(model, (1,), **streams) as blocks:
            return model(
                hidden_states=drawn(TOKENS, 128),
                audio_hidden_states=drawn(AUDIO, 128),
                encoder_hidden_states=drawn(8, 128),
                audio_encoder_hidden_states=drawn(8, 64),
                timestep=timestep,
                audio_timestep=level,
                sigma=level[:, 0],
                audio_sigma=level[:, 0],
                num_frames=GRID[0],
                height=GRID[1],
                width=GRID[2],
                audio_num_frames=AUDIO,
                spatio_temporal_guidance_blocks=blocks if stg else None,
                return_dict=False,
                **options,
            )


class Stock:
    """Diffusers' own blocks, installed and perturbed as ours are."""

    @staticmethod
    def installed(model):
        return torch.no_grad()

    @staticmethod
    def perturbing(model, blocks, **streams):
        return perturbed_streams(model, blocks, **streams)


def assert_close(found, wanted):
    for ours, stock in zip(found, wanted, strict=True):
        assert ours.dtype == stock.dtype
        assert torch.isfinite(ours).all()
        off = (ours.float() - stock.float()).square().mean().sqrt()
        assert off <= CLOSE * stock.float().square().mean().sqrt()


@pytest.mark.parametrize("kind", KINDS)
def test_fused_blocks_give_what_diffusers_give(model, kind):
    pytest.importorskip("triton")
    from pipelines.speed.triton_elementwise import Triton

    fused = forward(model, FastBlocks(Triton(), device=CUDA), **KINDS[kind])
    assert_close(fused, forward(model, **KINDS[kind]))


@pytest.mark.parametrize("kind", ["words", "a picture", "products in fp8"])
def test_each_operation_between_products_is_one_launch(model, kind):
    """What the budget of kernels takes for granted."""
    pytest.importorskip("triton")
    from torch.profiler import ProfilerActivity, profile

    from pipelines.speed.triton_elementwise import Triton

    asked, fused = Asked(), FastBlocks(Triton(), device=CUDA)
    options = KINDS.get(kind, {})
    with ExitStack() as stack:
        if kind == "products in fp8":
            model = stack.enter_context(multiplied_in_fp8(model))
        forward(model, FastBlocks(asked), **options)
        forward(model, fused, **options)  # which compiles them
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            forward(model, fused, **options)
            torch.cuda.synchronize()
    names = [event.name for event in seen.events() if event.device_type == DeviceType.CUDA]
    if not names:
        pytest.skip("this machine's profiler sees no kernels")
    assert sum(name in KERNELS for name in names) == asked.count


@contextmanager
def multiplied_in_fp8(model):
    """A copy whose middle block multiplies so."""
    try:
        check(CUDA, torch.bfloat16)
    except ValueError as error:
        pytest.skip(str(error))
    copy = deepcopy(model)
    quantise(copy, "transformer", "fp8")
    with products_in_fp8(copy):
        yield copy


class Asked(Plain):
    """Counts the operations that have a kernel of their own."""

    def __init__(self):
        self.count = 0

    def modulated(self, *args):
        self.count += 1
        return super().modulated(*args)

    def modulated_twice(self, *args):
        self.count += 1
        return super().modulated_twice(*args)

    def gated(self, *args):
        self.count += 1
        return super().gated(*args)

    def rotated(self, norm, x, tables, heads, kind):
        self.count += tables is not None  # without them it is torch's norm
        return super().rotated(norm, x, tables, heads, kind)

    def head_gated(self, *args):
        self.count += 1
        return super().head_gated(*args)

    def activated(self, activation, x, to):
        self.count += to.rounded  # unrounded it is torch's own
        return super().activated(activation, x, to)

    def fed(self, x, to):
        self.count += to.rounded
        return super().fed(x, to)


def test_what_is_compared_differs_by_kind(model):
    """Else a lever that left out what makes a kind would be close all the same."""
    plain = forward(model)
    for kind in ("perturbed", "isolated", "a picture"):
        with pytest.raises(AssertionError):
            assert_close(forward(model, **KINDS[kind]), plain)


@pytest.mark.parametrize("kind", ["words", "a picture"])
def test_compiled_blocks_give_what_diffusers_give(model, kind):
    pytest.importorskip("triton")
    compute = FastBlocks(Plain(), compiled())
    assert_close(forward(model, compute, **KINDS[kind]), forward(model, **KINDS[kind]))


@pytest.mark.parametrize("choice", ["auto", "cudnn", "flash", "efficient", "math"])
def test_every_attention_kernel_gives_the_same_and_the_order_is_put_back(model, choice):
    wanted = forward(model)  # by then torch has its own order
    before = torch._C._get_sdp_priority_order()
    with attention_order(choice, CUDA):
        found = forward(model)
    assert torch._C._get_sdp_priority_order() == before
    assert_close(found, wanted)
    assert choice == "auto" or order(choice, CUDA)[0] == choice


def test_a_decoder_gives_the_same_with_its_channels_together(tiny_model):
    from copy import deepcopy

    vae = deepcopy(tiny_model.part("vae")).to(CUDA, HALF)
    channels = vae.config.latent_channels
    latent = torch.randn(1, channels, 3, 4, 6, generator=torch.Generator().manual_seed(2))
    latent = latent.to(CUDA, HALF)
    with torch.inference_mode():
        wanted = vae.decode(latent, return_dict=False)[0]
        turn_weights(vae, "channels_last", CUDA)
        with laid_out(vae, "channels_last", CUDA):
            found = vae.decode(latent, return_dict=False)[0]
    assert_close((found,), (wanted,))


def test_what_comes_to_the_host_is_the_same_in_one_piece_and_in_many():
    whole = torch.randint(0, 256, (3 * PIECE + 5,), device=CUDA, dtype=torch.uint8)
    turned = torch.randn(300, 70, device=CUDA).t()
    for _ in range(2):  # through the same buffers again
        found = to_host(whole, turned, torch.tensor(True, device=CUDA))
        for ours, tensor in zip(found, (whole, turned, torch.tensor(True)), strict=True):
            assert ours.device.type == "cpu"
            assert torch.equal(ours, tensor.cpu())


def test_products_in_fp8_are_the_plain_ones_by_our_kernels(model):
    pytest.importorskip("triton")
    from pipelines.speed.triton_elementwise import Triton

    exact = forward(model, FastBlocks(Plain()))
    with multiplied_in_fp8(model) as copy:
        found = forward(copy, FastBlocks(Triton(), device=CUDA))
        wanted = forward(copy, FastBlocks(Plain()))
    for fused, plain, stored in zip(found, wanted, exact, strict=True):
        assert 0 < off(plain, stored) < 0.2
        assert off(fused, stored) < 1.5 * off(plain, stored)


def off(found, wanted):
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())
