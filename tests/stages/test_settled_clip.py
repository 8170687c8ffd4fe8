"""A clip whose prompt the model wrote, and what else only an engine settles before the plan."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

import ltx2
from ltx2.delivery.file import ToFile
from ltx2.engine import Engine
from ltx2.prepare import prepare
from ltx2.progress import Progress
from ltx2.session import complete, generate
from ltx2.settings import Settings

SMALL = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 9}


@pytest.fixture(scope="module")
def engine(tiny):
    """An engine on the embedded checkpoint that writes few words."""
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))
    weights = engine.components.weights
    writer = replace(weights.generation.enhancer, new_tokens=24)
    brief = replace(weights.generation, enhancer=writer)
    engine.components.weights = replace(weights, generation=brief)
    return engine


def prepared(engine, request):
    return prepare(
        request, checkpoint=engine.checkpoint, limits=engine.limits, media=engine.media_limits
    )


def test_the_result_carries_the_words_that_made_the_clip(engine, tmp_path):
    asked = ltx2.Request(**SMALL, enhance_prompt=True, camera_motion="jib_up")
    receipt = generate(asked, engine=engine, deliver=ToFile(tmp_path / "a.mp4")).as_dict()
    assert receipt["prompt"] not in ("", "a red ball")
    assert "enhance_prompt: the prompt was rewritten" in receipt["warnings"]
    assert not any("is rewritten when" in text for text in receipt["warnings"])
    assert "enhance" in receipt["timings"]
    # The seed was drawn; with it and the words the same clip comes without the language model.
    again = ltx2.Request(
        **{**SMALL, "prompt": receipt["prompt"]}, seed=receipt["seed"], camera_motion="jib_up"
    )
    other = generate(again, engine=engine, deliver=ToFile(tmp_path / "b.mp4")).as_dict()
    assert other["plan_id"] == receipt["plan_id"]
    assert "enhance" not in other["timings"]
    assert other["sha256"] == receipt["sha256"]


def test_a_plain_request_is_planned_once(engine):
    ready = prepared(engine, ltx2.Request(**SMALL, seed=7))
    done = complete(ready, engine=engine, progress=Progress())
    assert done.plan == ready.plan
    assert done.request is ready.request


@pytest.fixture
def other_detailer(tiny, tmp_path):
    """The embedded checkpoint with a detailer that follows a clip of the same size."""
    for file in tiny.iterdir():
        (tmp_path / file.name).symlink_to(file)
    detailer = tmp_path / "ltx-2-tiny-ic-lora-detailer.safetensors"
    tensors = load_file(detailer)
    detailer.unlink()
    save_file(tensors, detailer, metadata={"reference_downscale_factor": "1"})
    return Engine.load(str(tmp_path), settings=Settings.from_env({}))


def test_the_detailers_own_file_decides_what_it_follows(engine, other_detailer):
    ready = prepared(engine, ltx2.Request(**SMALL, detailer=True))
    assert ready.plan.detail.denoise.reference_downscale == 2
    done = complete(ready, engine=engine, progress=Progress())
    assert done.plan == ready.plan  # the catalogue and the file agree, and the seed stays
    done = complete(ready, engine=other_detailer, progress=Progress())
    assert done.plan.detail.denoise.reference_downscale == 1
    assert done.plan.seed == ready.plan.seed
    assert other_detailer.run(done.plan, done.inputs, Progress()).num_frames == 9


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_words_come_before_either_mode(engine, mode):
    steps = {"num_inference_steps": 1} if mode == "pro" else {}
    asked = ltx2.Request(**SMALL, seed=7, mode=mode, enhance_prompt=True, **steps)
    ready = complete(prepared(engine, asked), engine=engine, progress=Progress())
    assert not ready.request.enhance_prompt
    assert ready.plan.prompt == ready.request.prompt != "a red ball"
