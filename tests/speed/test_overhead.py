"""What a pass costs beside its forward calls: the graph around them must not be paid for.

Processor time of the one thread that computes, in turns and by the least of each: what else a
machine does costs caches, and so can only add to it.
"""

import time

import pytest
import torch

from ltx2.progress import Progress
from pipelines.speed.levers import STOCK, USUAL
from pipelines.stages.denoise import denoise
from pipelines.stages.prompt import encode_prompts
from tests.stages.plans import usual_plan
from tests.stages.test_denoise import calls

MOST = 1.05  # times the bare calls of diffusers' transformer
PAIRS = 7


@pytest.fixture
def alone():
    """One thread computes, whose time is all there is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seconds(work):
    began = time.thread_time()
    work()
    return time.thread_time() - began


@pytest.mark.slow
@pytest.mark.parametrize("levers", [STOCK, USUAL], ids=["its own blocks", "ours"])
def test_a_pass_takes_hardly_more_than_the_bare_calls_of_diffusers(
    tiny_model, monkeypatch, alone, levers
):
    plan = usual_plan()
    transformer = tiny_model.part("transformer:distilled")

    prompts = encode_prompts(tiny_model, plan)["base"]

    def ours():
        noise = torch.Generator().manual_seed(plan.seed)
        denoise(tiny_model, plan.base, prompts, stage="base", noise=noise, progress=Progress())

    monkeypatch.setattr(tiny_model, "levers", STOCK)
    with calls(transformer) as sent:
        ours()
    assert len(sent) == plan.base.steps

    def bare():
        with torch.inference_mode():
            for arguments in sent:
                transformer(**arguments)

    monkeypatch.setattr(tiny_model, "levers", levers)
    ours()  # what is made once is made
    pairs = [(seconds(ours), seconds(bare)) for _ in range(PAIRS)]
    one, other = map(min, zip(*pairs, strict=True))
    assert one / other <= MOST, pairs
