"""What a client is told it may offer is what the request and the planner accept."""

import json
from functools import cache

import pytest

from loras import catalog
from ltx2 import describe as module
from ltx2.errors import BadRequest
from ltx2.planner import plan
from ltx2.request import CAMERA_MOTIONS, PRO_ONLY, Keyframe, Lora, Request
from pipelines.models import CHECKPOINTS

describe = cache(module.describe)  # it plans a clip for every size, and tests only read it


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_description_is_json_and_names_every_field_and_model(name):
    told = json.loads(json.dumps(describe(name)))
    assert [field["name"] for field in told["fields"]] == list(Request.model_fields)
    assert {
        listed: [field["name"] for field in items] for listed, items in told["item_fields"].items()
    } == {"loras": list(Lora.model_fields), "keyframes": list(Keyframe.model_fields)}
    assert [model["name"] for model in told["models"]] == list(CHECKPOINTS)
    assert told["checkpoint"]["name"] == name
    assert all(field["description"] and field["accepts"] for field in told["fields"])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_sizes_told_are_the_sizes_planned(name):
    for label, shapes in describe(name)["sizes"].items():
        resolution = None if label == "default" else label
        for shape, size in shapes.items():
            request = Request(prompt="a", resolution=resolution, aspect_ratio=shape)
            made = plan(request, checkpoint=name)
            assert [made.width, made.height] == size


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_steps_told_are_the_steps_planned(name):
    for mode in describe(name)["modes"]:
        made = plan(Request(prompt="a", mode=mode["name"]), checkpoint=name)
        assert made.base.steps == mode["steps"]
        assert made.base.sampler == mode["sampler"]
        assert made.refine is not None
        assert made.refine.steps == mode["refine_steps"]
        assert (made.negative_prompt is not None) == mode["guided"]


def test_bounds_told_are_bounds_kept():
    for field in describe()["fields"]:
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if bound not in field or field["name"] in ("width", "height"):
                continue
            mode = field["modes"][-1]
            at = {"prompt": "a", "mode": mode, field["name"]: field[bound]}
            assert Request.parse(at)
            with pytest.raises(BadRequest):
                Request.parse({**at, field["name"]: field[bound] + step})


def test_defaults_told_are_the_defaults_of_a_request():
    request = Request(prompt="a").model_dump()
    for field in describe()["fields"]:
        if not field["required"]:
            assert json.dumps(field["default"]) == json.dumps(request[field["name"]])


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("tiny", []), ("ltx-2", []), ("ltx-2.3", ["detailer"]), ("ltx-2.5", ["detailer"])],
)
def test_what_a_model_cannot_do_is_told_as_not_available(name, hidden):
    fields = describe(name)["fields"]
    assert [field["name"] for field in fields if not field["available"]] == hidden


def test_a_length_that_the_model_predicts_has_no_default():
    fields = {field["name"]: field for field in describe("ltx-2.5")["fields"]}
    assert fields["duration"]["null_means"] is None


def test_fields_of_pro_are_told_as_such():
    pro = {field["name"] for field in describe()["fields"] if field["modes"] == ["pro"]}
    assert pro == {*PRO_ONLY, "negative_prompt"}


def test_choices_and_spellings_are_told():
    fields = {field["name"]: field for field in describe()["fields"]}
    assert fields["fps"]["choices"] == [24, 25, 30, 48, 50, 60]
    assert fields["image"]["aliases"] == ["image_url", "image_base64", "image_path"]
    assert fields["duration"]["null_means"] == CHECKPOINTS["tiny"].seconds


@pytest.mark.parametrize(("name", "by"), [("ltx-2", "lora"), ("ltx-2.5", "prompt")])
def test_cameras_are_told_with_how_they_work(name, by):
    cameras = describe(name)["cameras"]
    assert tuple(camera["name"] for camera in cameras) == CAMERA_MOTIONS
    assert {camera["by"] for camera in cameras if camera["name"] != "none"} == {by}
    assert set(catalog.cameras()) == set(CAMERA_MOTIONS) - {"none"}


def test_the_catalogue_is_told_with_strengths_words_licence_and_source():
    told = {row["id"]: row for row in describe("ltx-2")["loras"]}
    assert set(told) == {*catalog.cameras(), "detailer", "distilled"}
    entry = catalog.get("jib_up", "2.0")
    assert told["jib_up"]["strengths"] == dict(entry.strengths)
    assert told["jib_up"]["prompt_suffix"] == entry.prompt_suffix
    assert all(row["licence"] and row["source"] for row in told.values())


def test_an_unknown_checkpoint_is_refused():
    with pytest.raises(BadRequest, match="ltx-9"):
        describe("ltx-9")
