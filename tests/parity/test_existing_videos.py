"""The recipe of existing videos on a checkpoint of every generation, with what each has."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from ltx2.extent import Limits
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.recipes import video_to_video
from pipelines.speed.levers import STOCK
from pipelines.stages.prompt import connect
from pipelines.values import Text
from tests.media.videos import pictures
from tests.parity.cases import VERSIONS, load
from tests.parity.test_graphs import TEXT_WIDTH, Silent
from tests.parity.test_modules import DEV
from tests.unit.test_restore_plan import facts

ROWS = {row.generation.name: row for row in CHECKPOINTS.values()}


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def model(version, checkpoints) -> Components:
    folder = checkpoints / version
    weights = find(folder / f"{DEV[version]}.safetensors")
    lora = next(folder.glob("*distilled-lora*"))
    made = Components(replace(weights, text_width=TEXT_WIDTH), find_adapter=lambda _adapter: lora)
    case = load(version, "connectors")
    video, audio = connect(
        made.part("connectors:dev"), case["text_hidden"][:1], case["text_mask"][:1]
    )
    # There is no text encoder in these checkpoints: the prompt is one that was read before.
    text = Text(video=video, audio=audio, tokens=1, truncated=False)
    made.prompts.put(made.text_key("dev", ()), "", text)
    return made


def planned(version, source, limits=None, **changes):
    request = VideoRequest(task="upscale", video=source.path, seed=7, mode="pro", **changes)
    return plan_video(request, source, ROWS[version], limits=limits or Limits())


def run(model, plan):
    source = plan.source
    frames = iter([pictures(source.frames, source.width, source.height)])
    clip = video_to_video.run(model, plan, (chunk for chunk in frames), Silent())
    return np.concatenate(list(clip.frames))


def upscalers_of(version):
    smaller = ROWS[version].files.spatial_upscaler_x1_5
    return [2.0, *([1.5] if smaller else [])]


def test_every_upscaler_of_a_generation_is_found_by_its_file(model, version):
    has = model.weights.has
    assert has("temporal_upscaler")
    assert has("spatial_upscaler")
    assert has("spatial_upscaler_x1.5") == (version == "2.3") == (1.5 in upscalers_of(version))


def test_a_video_is_upscaled_and_refined_in_windows(model, version, monkeypatch):
    """Two windows: the later one holds what both have, at no noise, in the place of its own."""
    monkeypatch.setattr(model, "levers", STOCK)  # whose blocks take a timestep a token
    source = facts(width=64, height=64, frames=41, audio=())
    seen = []
    hook = model.part("transformer:dev").register_forward_pre_hook(
        lambda _m, _args, kwargs: seen.append(kwargs["timestep"].clone()), with_kwargs=True
    )
    try:
        for spatial in upscalers_of(version):
            seen.clear()
            limits = Limits(max_seconds=1)
            plan = planned(version, source, limits, spatial=spatial, temporal=True)
            frames = run(model, plan)
            edge = int(64 * spatial)
            assert frames.shape == (82, edge, edge, 3)
            assert Fraction(plan.rate) == 48
            assert plan.refine.denoise.fps == 60.0
            windows = plan.refine.spans(11)
            assert len(seen) == 3 * len(windows) == 3 * 2
            cells = (edge // 32) ** 2
            later = seen[3]
            assert later.shape[1] == (windows[1][1] - windows[1][0]) * cells
            assert torch.all(later[:, : 4 * cells] == 0)
            assert torch.all(later[:, 4 * cells :] > 0)
    finally:
        hook.remove()


def test_the_same_video_and_seed_give_the_same_frames(model, version):
    plan = planned(version, facts(width=64, height=64, frames=9, audio=()))
    first = run(model, plan)
    assert np.array_equal(first, run(model, plan))
    other = run(model, replace(plan, refine=replace(plan.refine, seed=8)))
    assert not np.array_equal(first, other)
