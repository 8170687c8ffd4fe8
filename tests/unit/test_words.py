"""ltx2.words before any model runs: what a request leaves open, and what is refused for it."""

import json
from pathlib import Path

import pytest

from ltx2.errors import ConfigError
from ltx2.extent import Limits
from ltx2.planner import plan
from ltx2.request import Request
from ltx2.words import (
    asks_no_length,
    first_picture,
    forecast,
    longest_seconds,
    needs_words,
    predicted_frames,
    refusals,
)
from pipelines.checkpoints.files import Weights
from pipelines.models import CHECKPOINTS

LTX_2_5, LTX_2_3 = CHECKPOINTS["ltx-2.5"], CHECKPOINTS["ltx-2.3"]
PICTURE = "https://example.com/a.png"


def request(**fields: object) -> Request:
    return Request(prompt="a red ball", **fields)


def test_a_length_is_predicted_only_where_a_model_for_it_was_trained():
    assert asks_no_length(request(), LTX_2_5)
    assert not any(
        asks_no_length(request(), row) for name, row in CHECKPOINTS.items() if name != "ltx-2.5"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"duration": 5.0},
        {"num_frames": 121},
        {"last_image": PICTURE},
        {"keyframes": ({"image": PICTURE, "frame": 8},)},
    ],
)
def test_a_length_that_is_asked_for_or_that_a_picture_depends_on_is_not_predicted(fields):
    assert not asks_no_length(request(**fields), LTX_2_5)


def test_a_first_picture_leaves_the_length_open():
    assert asks_no_length(request(image=PICTURE), LTX_2_5)


def test_a_request_needs_words_for_its_prompt_or_its_length():
    assert needs_words(request(enhance_prompt=True), LTX_2_3)
    assert not needs_words(request(), LTX_2_3)
    assert needs_words(request(), LTX_2_5)
    assert not needs_words(request(duration=5.0), LTX_2_5)


def test_a_plan_without_the_model_says_what_will_change():
    rewritten, length = forecast(request(enhance_prompt=True), LTX_2_5)
    assert "rewritten when the clip is made" in rewritten
    assert "predicted from the prompt" in length
    assert "5 s" in length
    assert forecast(request(), LTX_2_3) == ()


def test_a_missing_model_is_refused_with_the_command_that_fetches_it():
    weights = Weights(root=Path(), generation=LTX_2_5.generation, layout="original", parts={})
    [refused] = refusals(request(enhance_prompt=True), LTX_2_5, weights)
    assert isinstance(refused, ConfigError)
    assert "google/gemma-4-E2B-it" in str(refused)
    assert "ltx2 download --checkpoint ltx-2.5" in str(refused)
    assert refusals(request(), LTX_2_5, weights) == []


def gemma(folder: Path, model_type: str, *names: str) -> Weights:
    """A 2.3 whose text encoder is a folder with these files."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    for name in ("model.safetensors", "tokenizer.json", *names):
        (folder / name).write_bytes(b"")
    return Weights(
        root=folder.parent,
        generation=LTX_2_3.generation,
        layout="original",
        parts={"text_encoder": (folder,), "tokenizer": (folder,)},
    )


@pytest.mark.parametrize(
    ("model_type", "names"), [("gemma3_text", ("preprocessor_config.json",)), ("gemma3", ())]
)
def test_a_picture_is_refused_where_the_writer_sees_none(tmp_path, model_type, names):
    weights = gemma(tmp_path / "gemma", model_type, *names)
    pictured = request(enhance_prompt=True, image=PICTURE)
    [refused] = refusals(pictured, LTX_2_3, weights)
    assert "sees no pictures" in str(refused)
    assert refusals(request(enhance_prompt=True), LTX_2_3, weights) == []


def test_a_picture_is_shown_where_the_folder_says_how(tmp_path):
    pictured = request(enhance_prompt=True, image=PICTURE)
    weights = gemma(tmp_path / "old", "gemma3", "preprocessor_config.json")
    assert refusals(pictured, LTX_2_3, weights) == []
    newer = gemma(tmp_path / "new", "gemma3")
    (tmp_path / "new" / "processor_config.json").write_text('{"image_processor": {}}')
    assert refusals(pictured, LTX_2_3, newer) == []


def test_a_model_of_another_kind_is_refused(tmp_path):
    weights = gemma(tmp_path / "bert", "bert")
    [refused] = refusals(request(enhance_prompt=True), LTX_2_3, weights)
    assert "model_type is 'bert', accepted is gemma3 or gemma3_text" in str(refused)


def test_the_earliest_picture_is_the_one_that_is_shown():
    both = request(
        last_image=PICTURE, keyframes=({"image": PICTURE, "frame": 8},), num_frames=25, seed=1
    )
    made = plan(both, checkpoint="ltx-2.3")
    shown = {"last_image": "last", "keyframes[0]": "middle"}
    assert first_picture(made, shown) == "middle"  # type: ignore[arg-type]
    assert first_picture(plan(request(seed=1)), {}) is None


def test_a_picture_at_strength_0_is_not_shown():
    ignored = request(image=PICTURE, image_strength=0, seed=1)
    assert first_picture(plan(ignored), {"image": "first"}) is None  # type: ignore[arg-type]


def test_the_longest_clip_is_the_models_the_workers_or_that_of_its_tokens():
    wanted = request(width=640, height=384, seed=1, duration=1.0)
    made = plan(wanted, checkpoint="ltx-2.5")
    assert longest_seconds(wanted, made, Limits()) == 20
    assert longest_seconds(wanted, made, Limits(max_seconds=7)) == 7
    tokens = Limits(max_tokens=20 * 12 * 10)  # ten latent frames
    assert longest_seconds(wanted, made, tokens) == 3.0
    doubled = request(width=640, height=384, seed=1, duration=1.0, temporal_upscaler=True)
    assert longest_seconds(doubled, made, tokens) == 1.5


def test_a_predicted_length_is_clamped_and_on_the_grid():
    assert predicted_frames(5.0, 24, 20.0) == 113
    assert predicted_frames(5.1, 24, 20.0) == 121
    assert predicted_frames(0.1, 24, 20.0) == 25  # up, not below one second
    assert predicted_frames(99.0, 24, 20.0) == 473
    assert predicted_frames(99.0, 24, 2.0) == 41
    assert predicted_frames(99.0, 24, 1.0) == 25
    assert predicted_frames(99.0, 24, 0.5) == 9
