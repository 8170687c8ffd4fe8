"""pipelines.speed.compiling: one graph a shape and kind of call, none of them broken."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from pipelines.speed.blocks import FastBlocks
from pipelines.speed.compiling import compiled
from pipelines.speed.elementwise import Plain
from tests.speed.test_blocks import FIRST, TOKENS, forward

# What a clip asks of a transformer: a guided pass and one with a held picture.
KINDS = {
    "plain": {},
    "perturbed": {"stg": ("video", "audio")},
    "isolated": {"isolate_modalities": True},
    "two rows": {"rows": 2},
    "a held picture": {"shares": [(0, FIRST, 0.0)]},
}


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    yield CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()


def test_every_kind_of_call_is_one_graph_for_all_blocks(build, graphs):
    """`fullgraph` refuses a break; more graphs than these would be recompilation."""
    model = build("2.3")
    fast = FastBlocks(Plain(), compiled(graphs))
    found = {}
    for name, options in KINDS.items():
        before = graphs.frame_count
        for _ in range(2):
            fast.levels = None
            forward(model, fast, **options)
        found[name] = graphs.frame_count - before
    # A perturbed pass has its other block as the plain ones are.
    assert found == dict.fromkeys(KINDS, 1)


def test_a_compiled_block_gives_what_it_gives_uncompiled(build, graphs):
    model = build("2.3")
    plain = forward(model)
    for ours, stock in zip(
        forward(model, FastBlocks(Plain(), compiled(graphs))), plain, strict=True
    ):
        torch.testing.assert_close(ours, stock, rtol=1e-5, atol=1e-5)


def test_another_strength_is_no_other_graph(build, graphs):
    model = build("2.3")
    fast = FastBlocks(Plain(), compiled(graphs))
    forward(model, fast, shares=[(0, FIRST, 0.0)])
    before = graphs.frame_count
    forward(model, fast, shares=[(0, FIRST, 0.25)])
    assert graphs.frame_count == before
    forward(model, fast, shares=[(0, TOKENS - 1, 0.0)])  # another stretch is
    assert graphs.frame_count == before + 1
