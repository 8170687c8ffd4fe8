"""pipelines.upstream.context_parallel: what may be shared, and when the file may go. That two
processes give what one gives is in tests/stages/test_parallel.py.
"""

import pytest
import torch
from diffusers import ContextParallelConfig
from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel
from diffusers.models._modeling_parallel import ParallelConfig
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from pipelines.upstream.context_parallel import NotShareable, SharedTokens, divides


@pytest.fixture
def two():
    """A group of two processes, of which the other one is made up."""
    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield 2
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("heads", "processes", "shared"),
    [(32, 2, True), (32, 8, True), (30, 8, True), (30, 16, False), (2, 3, False), (3, 2, True)],
)
def test_heads_are_shared_where_the_last_process_gets_some(heads, processes, shared):
    assert divides(heads, processes) is shared


def test_processes_that_cannot_share_the_heads_are_refused_with_numbers_that_can(build):
    torch.distributed.init_process_group("fake", rank=0, world_size=3, store=FakeStore())
    try:
        tokens = SharedTokens(3, torch.device("cpu"))
        with (
            pytest.raises(NotShareable, match=r"3 processes cannot share 2 .* can: 2"),
            tokens.over(build("2.3")),
        ):
            pass
    finally:
        torch.distributed.destroy_process_group()


def test_a_transformer_is_as_before_afterwards(build, call, two):
    model = build("2.3")
    before = call(model)
    with SharedTokens(two, torch.device("cpu")).over(model):
        split = call(model)
    assert split[0].shape == before[0].shape
    after = call(model)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_the_stock_plan_still_cannot_run_a_forward(build, call, two):
    """Cross-modal attention: local tokens meet rotary tables of all of them."""
    model = build("2.3")
    mesh = init_device_mesh("cpu", (1, two), mesh_dim_names=("ring", "ulysses"))
    config = ContextParallelConfig(ulysses_degree=two, mesh=mesh)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(0, two, torch.device("cpu"), mesh=mesh)
    apply_context_parallel(model, config, model._cp_plan)
    try:
        with pytest.raises((RuntimeError, ValueError)):
            call(model, video_keyframes_mask=None, encoder_attention_mask=None)
    finally:
        remove_context_parallel(model, model._cp_plan)


def test_enable_parallelism_still_needs_an_accelerator(build, two):
    if torch.accelerator.device_count():
        pytest.skip("this machine has one")
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        build("2.3").enable_parallelism(config=ContextParallelConfig(ulysses_degree=two))
