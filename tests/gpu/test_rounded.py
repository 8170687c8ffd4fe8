"""Rounded weights on a GPU: they come to it from wherever they wait between uses."""

import numpy as np
import pytest

from ltx2.engine import Engine
from ltx2.progress import Progress
from ltx2.settings import Settings
from pipelines.values import Inputs
from tests.stages.plans import small_plan

pytestmark = pytest.mark.gpu


def frames(tiny, kind, residency):
    """The frames of two clips by an engine that loads its parts before the first."""
    settings = Settings.from_env({"LTX2_RESIDENCY": residency})
    engine = Engine.load(str(tiny), device="cuda", settings=settings, quantise=kind)
    engine.preload()
    plan = small_plan(num_frames=9)
    return [np.concatenate(list(engine.run(plan, Inputs(), Progress()).frames)) for _ in range(2)]


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("residency", ["staged", "freed", "offload", "stream"])
def test_rounded_weights_give_the_same_frames_wherever_they_live(tiny, kind, residency):
    wanted = frames(tiny, kind, "resident")
    found = frames(tiny, kind, residency)
    assert np.array_equal(found[0], found[1])
    assert np.abs(np.subtract(found, wanted, dtype=float)).mean() < 1.0  # of 255
