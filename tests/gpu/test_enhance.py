"""A prompt is rewritten on a GPU by the request's seed, and the GPU's generator is put back."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.stages.enhance import enhance

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("residency", ["resident", "offload", "stream"])
@pytest.mark.parametrize("picture", [None, Image.new("RGB", (60, 40), "red")])
def test_a_prompt_is_rewritten_by_its_seed_alone(tiny, residency, picture):
    weights = find(tiny, CHECKPOINTS["tiny"])
    recipe = replace(weights.generation.enhancer, new_tokens=24)
    weights = replace(weights, generation=replace(weights.generation, enhancer=recipe))
    model = Components(weights, device="cuda", dtype=torch.bfloat16, residency=residency)
    torch.cuda.manual_seed(3)
    before = torch.cuda.get_rng_state()
    first = enhance(model, "a red ball", seed=1, picture=picture)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    torch.rand(1, device="cuda")
    assert enhance(model, "a red ball", seed=1, picture=picture) == first
    assert enhance(model, "a red ball", seed=2, picture=picture) != first
