"""pipelines.speed.blocks: our arithmetic on diffusers' modules gives what its own blocks give."""

from contextlib import ExitStack

import pytest
import torch

from pipelines.speed.blocks import FastBlocks, fast_blocks, settled
from pipelines.speed.elementwise import Plain
from pipelines.speed.runs import levels_of
from pipelines.upstream.cross_modal_gate import cross_modal_gate
from pipelines.upstream.perturbed_attention import perturbed_streams
from tests.upstream.conftest import AUDIO, GENERATIONS, GRID

TOKENS = GRID[0] * GRID[1] * GRID[2]
FIRST = GRID[1] * GRID[2]  # tokens of the first latent frame
CPU = torch.device("cpu")
# adaLN on two rows and on every token are products of other shapes, which sum in another order.
BY_LEVEL = 1e-5


@pytest.fixture(params=GENERATIONS)
def model(request, build):
    return build(request.param)


def forward(model, fast=None, *, stg=None, shares=None, rows=1, **options):
    """Velocities of both streams: by diffusers' blocks, or ours where `fast` is given.

    `stg` names the perturbed streams; `shares` are stretches of held tokens.
    """
    noise = torch.Generator().manual_seed(1)
    widths = (20, 20) if model.config.use_prompt_embeddings else (48, 24)
    level = torch.full((rows, 1), 700.0)
    timestep = level
    if shares is not None:
        levels = levels_of(shares, TOKENS)
        share = torch.tensor([levels.shares])
        if fast is None:
            share = share[:, levels.rows(CPU).long()]
        else:
            fast.levels = levels
        timestep = level * share
    with torch.inference_mode(), ExitStack() as stack:
        stack.enter_context(cross_modal_gate(model))
        blocks = None
        if fast is not None:
            stack.enter_context(fast.installed(model))
        if stg is not None:
            streams = {name: name in stg for name in ("video", "audio")}
            blocks = stack.enter_context(
                perturbed_streams(model, (1,), **streams)
                if fast is None
                else fast.perturbing(model, (1,), **streams)
            )
        return model(
            hidden_states=torch.randn(rows, TOKENS, 128, generator=noise),
            audio_hidden_states=torch.randn(rows, AUDIO, 128, generator=noise),
            encoder_hidden_states=torch.randn(rows, 8, widths[0], generator=noise),
            audio_encoder_hidden_states=torch.randn(rows, 8, widths[1], generator=noise),
            timestep=timestep,
            audio_timestep=level,
            sigma=level[:, 0],
            audio_sigma=level[:, 0],
            num_frames=GRID[0],
            height=GRID[1],
            width=GRID[2],
            audio_num_frames=AUDIO,
            spatio_temporal_guidance_blocks=blocks,
            return_dict=False,
            **options,
        )


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_forward_is_diffusers_own_to_the_last_bit(model):
    for options in ({}, {"isolate_modalities": True}, {"stg": ("video", "audio")}):
        assert same(forward(model, FastBlocks(Plain()), **options), forward(model, **options))


@pytest.mark.parametrize("dtype", [torch.bfloat16], ids=str)
def test_it_is_so_in_bfloat16(model, dtype):
    model.to(dtype)
    noise = {"attention_kwargs": None}
    with torch.autocast("cpu", dtype=dtype):
        assert same(forward(model, FastBlocks(Plain()), **noise), forward(model, **noise))


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_one_stream_is_perturbed_alone(model, stream):
    wanted = forward(model, stg=(stream,), isolate_modalities=True)
    found = forward(model, FastBlocks(Plain()), stg=(stream,), isolate_modalities=True)
    assert same(found, wanted)
    assert not same(found, forward(model, isolate_modalities=True))


@pytest.mark.parametrize(
    "shares",
    [[(0, FIRST, 0.0)], [(0, FIRST, 0.3), (TOKENS - FIRST, TOKENS, 0.0)], [(0, TOKENS, 0.5)]],
    ids=["a first frame", "two strengths", "all of it"],
)
def test_a_row_a_level_is_a_row_a_token(model, shares):
    wanted = forward(model, shares=shares)
    found = forward(model, FastBlocks(Plain()), shares=shares)
    for ours, stock in zip(found, wanted, strict=True):
        assert float((ours - stock).abs().max()) <= BY_LEVEL * float(stock.abs().max())
    assert not same(wanted, forward(model))


def test_the_embedding_runs_once_a_level(model):
    rows = []
    hook = model.time_embed.linear.register_forward_pre_hook(lambda _m, x: rows.append(len(x[0])))
    forward(model, FastBlocks(Plain()), shares=[(0, FIRST, 0.0)])
    forward(model, shares=[(0, FIRST, 0.0)])
    hook.remove()
    assert rows == [2, TOKENS]


def test_rotary_tables_are_made_once_a_pass(model):
    made = []
    real = model.rope.forward
    fast = FastBlocks(Plain())
    model.rope.forward = lambda *args, **kwargs: made.append(1) or real(*args, **kwargs)
    coords = model.rope.prepare_video_coords(1, *GRID, CPU)
    with torch.inference_mode(), fast.installed(model):
        first = model.rope(coords, device=CPU)
        assert model.rope(coords[:, :], device=CPU)[0] is first[0]
        assert len(made) == 1
        other = model.rope(coords + 1, device=CPU)
    assert len(made) == 2
    assert not torch.equal(first[0], other[0])


def test_the_transformer_is_as_before_also_after_an_error(model):
    plain = forward(model)
    with pytest.raises(KeyError), FastBlocks(Plain()).installed(model):
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert same(forward(model), plain)


def test_a_mask_is_refused(model):
    with pytest.raises(ValueError, match="take no encoder_attention_mask"):
        forward(model, FastBlocks(Plain()), encoder_attention_mask=torch.ones(1, 8))


def test_no_mask_is_a_mask_of_ones(model):
    """Why none is sent: kernels that are fast refuse one."""
    ones = {"encoder_attention_mask": torch.ones(1, 8)}
    ones["audio_encoder_attention_mask"] = torch.ones(1, 8)
    for ours, masked in zip(forward(model), forward(model, **ones), strict=True):
        torch.testing.assert_close(ours, masked, rtol=1e-5, atol=1e-5)


def test_what_computes_is_chosen_by_the_device():
    assert settled("auto", CPU) == "plain"
    assert settled("stock", CPU) == "stock"
    assert fast_blocks("stock", CPU) is None
    with pytest.raises(ValueError, match=r"capability 8\.0"):
        settled("triton", CPU)
