"""Half precision on a GPU gives the clip that float32 gives on the CPU."""

import numpy as np
import pytest
import torch

import ltx2
from ltx2.engine import Engine
from ltx2.settings import Settings

pytestmark = pytest.mark.gpu

# The ground is left to the seed, by which another one is far away.
SMALL = {"prompt": "a large red square moving left", "seed": 7, "width": 128, "height": 64,
         "num_frames": 17}  # fmt: skip
GREY = 3.0  # of 255, the most by which a clip may be off
FAR = 2 * GREY  # the least of another seed
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
    assert np.abs(other.frames.astype(float) - exact.frames).mean() > FAR
