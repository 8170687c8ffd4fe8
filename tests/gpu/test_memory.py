"""The foretold peak of a full-size pass against torch's own count on a GPU, with random weights."""

from pathlib import Path

import pytest
import torch

from ltx2.memory_table import released_fit
from ltx2.planner import plan
from ltx2.request import Request
from pipelines.checkpoints.files import Weights
from pipelines.components import Components
from pipelines.memory.forecast import weights_there
from pipelines.memory.released import released_module
from pipelines.models import CHECKPOINTS
from pipelines.stages.denoise import denoise
from pipelines.values import Prompts, Text
from tests.stages.measured import Silent, in_three_steps

pytestmark = pytest.mark.gpu

ROW = CHECKPOINTS["ltx-2.3"]
TOLERANCE = 0.15
NEEDED = 48 * 2**30  # the transformer and the clip


class Random(Components):
    """Parts of the released size with random weights: dense kernels do not care about values."""

    def _load(self, component, variant, device):
        with torch.device("meta"):
            module = released_module(ROW.generation, component).to(torch.bfloat16)
        module = module.to_empty(device=device).eval().requires_grad_(False)
        generator = torch.Generator(device).manual_seed(0)
        for tensor in module.parameters():
            if tensor.ndim >= 2:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            else:
                tensor.fill_(0.02)
        return module


def text(device):
    def words(width):
        return torch.randn(1, 1024, width, device=device, dtype=torch.bfloat16)

    return Text(video=words(4096), audio=words(2048), tokens=1024, truncated=False)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.mem_get_info()[0] < NEEDED,
    reason="needs a GPU with 48 GiB free",
)
@pytest.mark.parametrize("seconds", [5, 10])
@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_the_foretold_peak_of_a_full_size_pass_is_the_measured_one(seconds, mode):
    device = torch.device("cuda")
    request = Request(
        prompt="x", seed=0, mode=mode, resolution="720p", duration=seconds, spatial_upscaler=False
    )
    whole = plan(request, checkpoint=ROW)
    run = released_fit(ROW).rehearsed(whole)
    at_work = (f"transformer:{whole.variant}",)
    foretold = max(
        weights_there(run, moment.parts, "offload") + moment.device
        for moment in run.moments
        if moment.parts == at_work
    )
    nothing = Weights(root=Path(), generation=ROW.generation, layout="original", parts={})
    model = Random(nothing, device=device, dtype=torch.bfloat16)
    model.part(at_work[0])
    prompts = Prompts(positive=text(device), negative=text(device) if mode == "pro" else None)
    torch.cuda.reset_peak_memory_stats(device)
    denoise(
        model,
        in_three_steps(whole).base,
        prompts,
        stage="base",
        noise=torch.Generator().manual_seed(0),
        progress=Silent(),
    )
    assert foretold == pytest.approx(torch.cuda.max_memory_allocated(device), rel=TOLERANCE)
