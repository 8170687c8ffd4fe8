"""ltx2.words.settle: a request's open prompt and length, decided once and reproducible."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltx2.errors import ConfigError, GenerationFailed, OutOfMemory
from ltx2.extent import Limits
from ltx2.prepare import Prepared, prepare
from ltx2.progress import Progress
from ltx2.request import Request
from ltx2.settings import Settings
from ltx2.words import Settled, needs_words, settle, translated
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS, Checkpoint
from pipelines.stages.duration import predict_seconds
from tests.stages.writers import write_checkpoint, write_gemma_4

TOKENS = 24


@dataclass(frozen=True)
class Standing:
    """What `settle` asks of an engine."""

    components: Components
    checkpoint: Checkpoint
    limits: Limits


def standing(folder: Path, name: str, **limits: float) -> Standing:
    row = CHECKPOINTS[name]
    enhancer = folder / "gemma-4-tiny"
    weights = find(folder, row, enhancer=enhancer if enhancer.is_dir() else None)
    recipe = replace(row.generation.enhancer, new_tokens=TOKENS)
    brief = replace(row, generation=replace(row.generation, enhancer=recipe))
    components = Components(replace(weights, generation=brief.generation))
    return Standing(components, brief, Limits(**limits))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def embedded(tiny: Path) -> Standing:
    return standing(tiny, "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2.5 with its duration head and its writer."""
    root = write_checkpoint(tmp_path_factory.mktemp("2.5"))
    write_gemma_4(root / "gemma-4-tiny")
    return root


def prepared(request: Request, engine: Standing) -> Prepared:
    media = Settings.from_env({}).media_limits()
    return prepare(request, checkpoint=engine.checkpoint, limits=engine.limits, media=media)


def settled(request: Request, engine: Standing, progress: Progress | None = None) -> Settled:
    first = prepared(request, engine)
    return settle(
        request,
        engine,  # type: ignore[arg-type]
        plan=first.plan,
        inputs=first.inputs,
        progress=progress or Progress(),
    )


def test_a_rewritten_prompt_takes_the_place_of_the_written_one(embedded):
    asked = Request(prompt="a red ball", enhance_prompt=True, seed=4)
    done = settled(asked, embedded)
    assert done.request.prompt != asked.prompt
    assert done.request == asked.model_copy(
        update={"prompt": done.request.prompt, "enhance_prompt": False}
    )
    assert done.warnings == ("enhance_prompt: the prompt was rewritten",)
    assert not needs_words(done.request, embedded.checkpoint)


def test_a_seed_is_drawn_once_and_reproduces_text_and_clip(embedded):
    done = settled(Request(prompt="a red ball", enhance_prompt=True), embedded)
    assert done.request.seed is not None
    again = settled(
        Request(prompt="a red ball", enhance_prompt=True, seed=done.request.seed), embedded
    )
    assert again == done
    plans = {prepared(each.request, embedded).plan.id for each in (done, again)}
    assert len(plans) == 1


def test_the_camera_moves_words_come_after_the_rewritten_prompt(folder):
    engine = standing(folder, "ltx-2.5")
    asked = Request(prompt="a ball", enhance_prompt=True, camera_motion="dolly_in", duration=2.0)
    done = settled(asked, engine)
    made = prepared(done.request, engine).plan
    assert made.prompt.startswith(f"{done.request.prompt}, ")
    assert "dolly" in made.prompt
    assert "dolly" not in done.request.prompt


def test_the_writer_sees_the_first_picture(embedded, tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(noise).save(path)
    seen, unseen, ignored = (
        settled(Request(prompt="it rolls", enhance_prompt=True, seed=1, **fields), embedded)
        for fields in ({"image": str(path)}, {}, {"image": str(path), "image_strength": 0})
    )
    assert seen.request.prompt != unseen.request.prompt
    assert ignored.request.prompt == unseen.request.prompt


def test_the_work_is_a_stage_of_its_own_that_can_be_cancelled(embedded):
    progress = Progress()
    settled(Request(prompt="a red ball", enhance_prompt=True, seed=1), embedded, progress)
    assert set(progress.timings) == {"enhance"}


def test_a_request_that_leaves_nothing_open_only_gets_its_seed(embedded):
    asked = Request(prompt="a red ball", seed=None)
    done = settled(asked, embedded)
    assert done.request == asked.model_copy(update={"seed": done.request.seed})
    assert done.warnings == ()


# The length


def test_the_length_that_the_prompt_asks_for_is_predicted_once(folder):
    engine = standing(folder, "ltx-2.5")
    asked = Request(prompt="a red ball", seed=1, fps=25)
    done = settled(asked, engine)
    seconds = predict_seconds(engine.components, "a red ball", "distilled")
    assert done.request.num_frames is not None
    assert done.request.num_frames % 8 == 1
    assert 25 <= done.request.num_frames <= 500
    assert f"{seconds:.1f} s were predicted" in done.warnings[0]
    assert not needs_words(done.request, engine.checkpoint)
    made = prepared(done.request, engine).plan
    assert made.num_frames == done.request.num_frames
    assert made.snaps == ()


def saying(folder: Path, seconds: float, **limits: float) -> Standing:
    """An engine whose duration head says this."""
    engine = standing(folder, "ltx-2.5", **limits)
    head = engine.components.part("duration_head")
    head.mlp_out.weight.zero_()
    head.mlp_out.bias.fill_(float(torch.tensor(seconds).log()))
    return engine


@pytest.mark.parametrize(
    ("seconds", "limits", "frames", "told"),
    [
        (6.0, {}, 137, "6.0 s were predicted from the prompt"),
        (0.2, {}, 25, "1 to 20 s can be made here"),
        (90.0, {}, 473, "1 to 20 s can be made here"),
        (9.0, {"max_seconds": 5.0}, 113, "1 to 5 s can be made here"),
    ],
)
def test_the_length_stays_within_the_model_and_the_worker(folder, seconds, limits, frames, told):
    done = settled(Request(prompt="a red ball", seed=1), saying(folder, seconds, **limits))
    assert done.request.num_frames == frames
    assert told in done.warnings[0]


def test_the_length_follows_the_rewritten_prompt_with_the_camera_move(folder):
    engine = standing(folder, "ltx-2.5")
    asked = Request(prompt="a ball", seed=1, enhance_prompt=True, camera_motion="jib_up")
    done = settled(asked, engine)
    made = prepared(done.request, engine).plan
    assert engine.components.known_text("distilled", made.prompt) is not None
    assert engine.components.known_text("distilled", "a ball") is None
    assert len(done.warnings) == 2


def test_without_the_heads_file_the_clip_has_the_default_length_and_says_why(tmp_path):
    engine = standing(write_checkpoint(tmp_path, head=False), "ltx-2.5")
    done = settled(Request(prompt="a red ball", seed=1), engine)
    assert done.request.num_frames == 121
    [told] = done.warnings
    assert "no duration head (model_patches/ltx-2.5-duration-head-bf16.safetensors)" in told
    assert "default of 5 s" in told


def test_a_length_that_is_asked_for_loads_no_head(folder):
    engine = standing(folder, "ltx-2.5")
    done = settled(Request(prompt="a red ball", seed=1, num_frames=9), engine)
    assert done.warnings == ()
    assert engine.components.held == ()


# Errors


def test_a_missing_writer_is_refused_before_anything_is_loaded(tmp_path):
    engine = standing(write_checkpoint(tmp_path), "ltx-2.5")
    with pytest.raises(ConfigError, match=r"google/gemma-4-E2B-it.*ltx2 download"):
        settled(Request(prompt="a red ball", seed=1, enhance_prompt=True), engine)
    assert engine.components.held == ()


def test_an_answer_without_words_names_the_seed(tiny):
    engine = standing(tiny, "tiny")
    head = engine.components.part("text_encoder").lm_head.weight
    head.zero_()
    head[1] = -1.0  # the end: the states' sum is below 0
    with pytest.raises(GenerationFailed, match=r"no words, seed 3; try another seed"):
        settled(Request(prompt="a red ball", seed=3, enhance_prompt=True), engine)


def test_a_length_that_is_none_is_an_error_with_advice(folder):
    engine = saying(folder, float("inf"))
    with pytest.raises(GenerationFailed, match="ask for a duration"):
        settled(Request(prompt="a red ball", seed=1), engine)


def test_a_device_that_is_full_is_an_error_with_advice():
    with pytest.raises(OutOfMemory, match="leave enhance_prompt out"), translated(1):
        raise torch.OutOfMemoryError("full")


def test_the_noise_of_the_clip_is_not_touched(folder):
    engine = standing(folder, "ltx-2.5")
    settled(Request(prompt="a ball", seed=1), engine)  # building modules draws their first values
    before = torch.get_rng_state()
    settled(Request(prompt="a red ball", seed=1, enhance_prompt=True), engine)
    assert torch.equal(torch.get_rng_state(), before)
