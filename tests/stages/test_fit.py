"""ltx2.fit: the fastest residency that fits, smaller tiles, and what a refusal offers."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx2.engine import Engine, adapter_file
from ltx2.errors import ConfigError, TooLarge
from ltx2.extent import Limits
from ltx2.fit import Fit, device_need, find_residency, fit_for, host_need, lacking, room_for
from ltx2.room import GIB, Room
from ltx2.settings import Settings
from ltx2.video_planner import plan_video
from ltx2.video_request import VideoRequest
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.memory.forecast import RESIDENCIES
from pipelines.memory.long_video import stretches
from pipelines.models import CHECKPOINTS
from pipelines.values import Inputs
from tests.stages.measured import Silent
from tests.stages.plans import small_plan
from tests.stages.test_restore import probe_of

ROW = CHECKPOINTS["tiny"]
PLENTY = 2**40


@pytest.fixture(scope="module")
def weights(tiny):
    return find(tiny, ROW)


@pytest.fixture(scope="module")
def fit(weights) -> Fit:
    settings = Settings.from_env({})
    model = Components(
        weights, find_adapter=lambda adapter: adapter_file(adapter, weights, ROW, settings)
    )
    return fit_for(model, ROW)


@pytest.fixture(scope="module")
def needs(fit):
    """Bytes of the device that the usual small plan asks for in each residency."""
    room = Room(device=0, host=PLENTY)
    found = fit.forecasts(small_plan(), room)
    return {each.residency: device_need(each, room) for each in found}


def room(device, host=PLENTY):
    return Room(device=device, host=host)


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_the_fastest_residency_that_fits_is_chosen(fit, needs, residency):
    decision = fit.decide(small_plan(), room(needs[residency]))
    faster = RESIDENCIES[: RESIDENCIES.index(residency)]
    expected = next((each for each in faster if needs[each] <= needs[residency]), residency)
    assert decision.residency == expected
    assert decision.plan == small_plan()
    assert "GiB of GPU memory" in decision.reason


def test_a_small_host_has_the_text_side_freed(fit, needs):
    plan = small_plan()
    staged, freed = (
        next(f for f in fit.forecasts(plan, room(0)) if f.residency == name)
        for name in ("staged", "freed")
    )
    host = (host_need(staged) + host_need(freed)) // 2
    assert fit.decide(plan, room(needs["staged"], host)).residency == "freed"


def test_where_much_memory_is_free_nothing_is_rehearsed(weights):
    fresh = fit_for(Components(weights), ROW)
    decision = fresh.decide(small_plan(), room(PLENTY))
    assert (decision.residency, decision.forecast) == ("resident", None)
    assert fresh.decide(small_plan(), room(None)).reason == "there is no GPU memory to save"


def test_the_shortcut_is_never_wrong(fit):
    """What is called plenty is more than any residency asks for."""
    plan = small_plan(width=192, height=128, num_frames=25, mode="pro", num_inference_steps=3)
    most = max(device_need(each, room(0)) for each in fit.forecasts(plan, room(0)))
    assert not fit._ample(plan, room(most))


def test_a_plan_that_fits_nowhere_is_refused_with_what_would_fit(fit):
    plan = small_plan(width=320, height=192, num_frames=97)
    shorter = replace_frames(33)
    least = min(device_need(f, room(0)) for f in fit.forecasts(shorter, room(0)))
    with pytest.raises(TooLarge, match=r"320x192 for 4.0 s needs at least") as refusal:
        fit.decide(plan, room(least))
    text = str(refusal.value)
    found = re.search(r"(\d+)x(\d+) for (\d+) s would fit", text)
    assert found, text
    width, height, seconds = map(int, found.groups())
    assert (width, height) == (320, 192)
    assert 1 <= seconds < 4
    fitting = small_plan(width=width, height=height, num_frames=24 * seconds + 1)
    assert fit.fits(fitting, room(least))
    longer = small_plan(width=width, height=height, num_frames=24 * (seconds + 1) + 1)
    assert not fit.fits(longer, room(least))


def replace_frames(frames):
    return small_plan(width=320, height=192, num_frames=frames)


def test_a_smaller_named_size_of_the_same_length_is_offered(fit):
    wide = small_plan(width=1280, height=704, num_frames=9)
    narrow = small_plan(width=1024, height=576, num_frames=9)
    least = min(device_need(f, room(0)) for f in fit.forecasts(narrow, room(0)))
    with pytest.raises(TooLarge, match=r"1024x576 for 0\.4 s"):
        fit.decide(wide, room(int(least * 1.01)))


def test_the_models_own_size_is_offered_where_no_named_one_is_smaller(fit):
    least = min(
        device_need(f, room(0))
        for f in fit.forecasts(small_plan(width=320, height=192, num_frames=9), room(0))
    )
    wide = small_plan(width=640, height=384, num_frames=9)
    with pytest.raises(TooLarge, match=r"320x192 for 0\.4 s"):
        fit.decide(wide, room(int(least * 1.01)))


def test_a_host_that_is_too_small_is_named(fit):
    with pytest.raises(TooLarge, match=r"GiB of host memory, 0\.10 can be had"):
        fit.decide(small_plan(), room(PLENTY, GIB // 10))


def test_smaller_tiles_come_before_a_refusal_and_are_told(fit):
    plan = small_plan(width=640, height=384, num_frames=97)
    whole = min(device_need(f, room(0)) for f in fit.forecasts(plan, room(0)))
    decision = fit.decide(plan, room(int(whole * 0.8)))
    tiles = decision.plan.decode
    assert tiles.tile_frames < plan.decode.tile_frames
    assert tiles.tile_width < plan.decode.tile_width
    assert (tiles.overlap, tiles.overlap_frames) == (64, 24)
    assert any("decoded in tiles of" in warning for warning in decision.plan.warnings)
    assert lacking(decision.forecast, room(int(whole * 0.8))) is None
    assert decision.plan.id != plan.id
    again = fit.decide(decision.plan, room(int(whole * 0.8)))
    assert again.plan == decision.plan


def test_tiles_are_not_tried_where_a_pass_is_what_does_not_fit(weights, fit, needs):
    fresh = fit_for(Components(weights), ROW)
    with pytest.raises(TooLarge):
        fresh.decide(small_plan(), room(needs["stream"] // 4))
    assert not any(plan.decode != small_plan().decode for plan in fresh._known)


def test_what_is_told_holds_also_where_the_device_is_the_host(weights):
    told = fit_for(Components(weights), ROW, ("offload",))
    decision = told.decide(small_plan(), Room(device=None, host=int(1.2 * GIB)))
    assert decision.residency == "offload"
    assert decision.forecast is not None


def test_what_is_told_is_the_only_choice(weights, needs):
    only = fit_for(Components(weights), ROW, ("resident",))
    assert only.decide(small_plan(), room(needs["resident"])).residency == "resident"
    with pytest.raises(TooLarge):
        only.decide(small_plan(), room(needs["stream"]))


def test_words_and_seeds_do_not_make_a_new_shape(fit):
    first = fit.rehearsed(small_plan())
    assert fit.rehearsed(small_plan(prompt="another", seed=8)) is first
    assert fit.rehearsed(small_plan(num_frames=9)) is not first


def test_another_video_of_the_same_size_is_no_new_shape(fit):
    facts = replace(probe_of(None), width=64, height=64, frames=9)

    def made(seed, sha256, prompt):
        request = VideoRequest(task="upscale", video=Path("in.mp4"), seed=seed, prompt=prompt)
        return plan_video(request, replace(facts, sha256=sha256), ROW, limits=Limits())

    first = fit.rehearsed(made(1, "a" * 64, "one"))
    assert fit.rehearsed(made(2, "b" * 64, "two")) is first


@pytest.mark.parametrize("task", ["detail", "upscale"])
def test_a_long_video_is_foretold_from_two_stretches_of_it(fit, task):
    facts = replace(probe_of(None), width=64, height=64, frames=1001)
    request = VideoRequest(task=task, video=Path("in.mp4"), seed=1)
    plan = plan_video(request, facts, ROW, limits=Limits())
    first, second = stretches(plan)
    assert first.source.padded_frames < second.source.padded_frames < 1001
    long, whole = fit.rehearsed(plan), fit._rehearse(plan)
    assert max(m.device for m in long.moments) == pytest.approx(
        max(m.device for m in whole.moments), rel=0.02
    )
    assert stretches(first) is None
    with pytest.raises(TooLarge, match=r"for 4\d\.\d s .* a video of fewer pixels needs less"):
        fit.decide(plan, room(1000))


def test_the_residency_of_an_engine_is_that_of_a_usual_clip(fit, weights):
    assert find_residency(fit, weights, ROW, room(PLENTY), None)[0] == "resident"
    assert find_residency(fit, weights, ROW, room(PLENTY), "offload") == ("offload", "it is set so")
    residency, reason = find_residency(fit, weights, ROW, room(1000), None)
    assert residency == "stream"
    assert reason.startswith("for less only: 320x192 for 2.0 s needs at least")
    assert find_residency(fit, weights, ROW, room(None), None)[0] == "resident"
    bare = replace(weights, parts={"vae": weights.parts["vae:dev"]})
    residency, reason = find_residency(fit, bare, ROW, room(1000), None)
    assert (residency, reason[:36]) == ("resident", "not known before its files are here:")


def test_an_engine_refuses_before_it_loads_anything(tiny):
    settings = Settings.from_env({"LTX2_DEVICE_MEMORY_GIB": "0.01"})
    engine = Engine.load(str(tiny), settings=settings)
    with pytest.raises(TooLarge, match=r"GiB of GPU memory, 0\.01 can be had"):
        engine.run(small_plan(), Inputs(), Silent())
    assert engine.components.held == ()


def test_an_engine_lives_as_each_plan_needs_and_the_result_has_the_tiles_used(tiny, needs):
    enough = needs["offload"] * 1.001 / GIB
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))
    engine.settings = replace(engine.settings, device_memory=enough)
    plan = small_plan()
    engine.fitted(plan)
    assert engine.components.residency == "offload"
    engine.settings = replace(engine.settings, device_memory=None)
    engine.fitted(plan)
    assert engine.components.residency == "resident"


def test_missing_files_are_told_before_memory(tiny):
    engine = Engine.load(str(tiny), settings=Settings.from_env({"LTX2_DEVICE_MEMORY_GIB": "0.01"}))
    engine.components.weights = replace(
        engine.components.weights,
        parts={k: v for k, v in engine.components.weights.parts.items() if k != "spatial_upscaler"},
    )
    with pytest.raises(ConfigError, match="spatial_upscaler"):
        engine.check_fits(small_plan())


def test_what_other_plans_left_goes_where_it_is_in_the_way(tiny, needs):
    engine = Engine.load(str(tiny), settings=Settings.from_env({"LTX2_RESIDENCY": "resident"}))
    plan = small_plan()
    engine.components.part("temporal_upscaler")
    engine.settings = replace(engine.settings, device_memory=1.2 * needs["resident"] / GIB)
    engine.fitted(plan)
    assert engine.components.held == ("temporal_upscaler",)
    engine.settings = replace(engine.settings, device_memory=1.0001 * needs["resident"] / GIB)
    engine.fitted(plan)
    assert engine.components.held == ()


def test_memory_that_is_held_already_counts_as_room(weights):
    model = Components(weights)
    before = room_for(model, None).host
    model.part("vae")
    assert room_for(model, None).host > before - 64 * 2**20
    assert room_for(model, 2.0).device == 2 * GIB
    assert room_for(model, None).device is None
    assert model.device == torch.device("cpu")
