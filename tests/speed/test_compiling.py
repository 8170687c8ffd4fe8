"""pipelines.speed.compiling: one graph a shape and kind of call, none of them broken."""

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from ltx2.engine import Engine
from ltx2.planner import plan as decide
from ltx2.preload import warm
from ltx2.request import Request
from ltx2.settings import Settings
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


def test_more_shapes_than_graphs_run_uncompiled_and_say_so_once(build, graphs, caplog):
    model = build("2.3")
    fast = FastBlocks(Plain(), compiled(graphs, graphs=2))
    for _ in range(2):
        for rows in (1, 2, 3, 4):
            fast.levels = None
            found, wanted = forward(model, fast, rows=rows), forward(model, rows=rows)
            for ours, stock in zip(found, wanted, strict=True):
                torch.testing.assert_close(ours, stock, rtol=1e-5, atol=1e-5)
    assert graphs.frame_count == 2
    told = [each for each in caplog.records if each.name == "pipelines.speed.compiling"]
    assert [each.getMessage()[:8] for each in told] == ["2 graphs"]


def test_beyond_the_graphs_others_may_compute(build, graphs):
    asked = []

    class Others(Plain):
        def gated(self, *args):
            asked.append(1)
            return super().gated(*args)

    model = build("2.3")
    fast = FastBlocks(Plain(), partial(compiled(graphs, graphs=1), beyond=Others()))
    forward(model, fast)
    assert not asked
    forward(model, fast, rows=2)
    assert asked


def test_warming_up_compiles_what_is_served(tiny):
    """The smallest clip would leave the usual one to be compiled for the first caller."""
    small, usual = (
        warming_pixels(Engine.load(str(tiny), device="cpu", settings=Settings(blocks=blocks)))
        for blocks in ("plain", "compiled")
    )
    assert small < usual
    served = decide(Request(prompt="x", seed=0), checkpoint="tiny")
    assert usual == served.refine.width * served.refine.height


def warming_pixels(engine):
    """Pixels of the last pass of the clip that warms an engine up, which is not computed."""
    seen = []

    class Stopped(Exception):
        pass

    def stop(plan, *_):
        seen.append(plan)
        raise Stopped

    engine.run = stop
    with pytest.raises(Stopped):
        warm(engine)
    part = seen[0].refine or seen[0].base
    return part.width * part.height
