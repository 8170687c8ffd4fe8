"""Half precision on a GPU gives the clip that float32 gives on the CPU."""

import numpy as np
import pytest
import torch

import ltx2
from ltx2.engine import Engine
from ltx2.settings import Settings

pytestmark = pytest.mark.gpu

SMALL = {"prompt": "a red ball rolls left", "seed": 7, "width": 128, "height": 64, "num_frames": 17}
# Another seed is more than 50 grey levels away and its sound does not correlate; bfloat16 on a CPU
# is less than one level away and its sound correlates to 0.99.
GREY = 3.0
LIKENESS = 0.95


def clip(tiny, device, dtype, **changes):
    """A result, after checking that the transformer really was there and of that type."""
    engine = Engine.load(str(tiny), device=device, dtype=dtype, settings=Settings.from_env({}))
    result = engine.generate(ltx2.Request(**{**SMALL, **changes}))
    transformer = engine.components.part(f"transformer:{result.plan.base.variant}")
    assert (transformer.device.type, transformer.dtype) == (device, dtype)
    return result


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_bfloat16_on_a_gpu_gives_the_clip_of_float32_on_the_cpu(tiny, mode):
    exact = clip(tiny, "cpu", torch.float32, mode=mode)
    half = clip(tiny, "cuda", torch.bfloat16, mode=mode)
    assert half.frames.shape == exact.frames.shape
    assert np.abs(half.frames.astype(float) - exact.frames).mean() < GREY
    assert np.corrcoef(half.audio.ravel(), exact.audio.ravel())[0, 1] > LIKENESS
    other = clip(tiny, "cpu", torch.float32, mode=mode, seed=8)
    assert np.abs(other.frames.astype(float) - exact.frames).mean() > 10 * GREY
