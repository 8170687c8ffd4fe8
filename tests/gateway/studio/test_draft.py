"""The form as a browser fills it in, to and from a request."""

from dataclasses import replace

import pytest

from gateway.studio import draft
from gateway.studio.composer import composer
from gateway.studio.guide import guide
from tests.gateway.studio.sample_offer import OFFER
from tiny import world


def test_a_fresh_form_is_the_offers_default():
    form, problems = draft.request_of(draft.fresh(OFFER), OFFER)
    assert problems == []
    assert form["mode"] == "fast"
    assert form["resolution"] == "720p"
    assert form["duration"] == 5
    assert form["generate_audio"] is True
    assert form["detailer"] is False


def test_what_was_asked_comes_back_as_it_was():
    asked = {
        "prompt": "a kite\nover dunes",
        "mode": "pro",
        "resolution": "1080p",
        "duration": 8,
        "seed": 7,
        "guidance_scale": 3.0,
        "camera_motion": "jib_up",
        "generate_audio": False,
        "temporal_upscaler": True,
    }
    shown = draft.again(OFFER, asked, keep_seed=True)
    form, problems = draft.request_of(shown, OFFER)
    assert problems == []
    assert {name: form[name] for name in asked} == asked
    assert "seed" not in draft.request_of(draft.again(OFFER, asked, keep_seed=False), OFFER)[0]


def test_what_was_left_out_comes_back_as_it_was_made():
    """A request of the API that says nothing of sound had sound."""
    shown = draft.again(OFFER, {"prompt": "a kite", "mode": "fast"}, keep_seed=True)
    form, problems = draft.request_of(shown, OFFER)
    assert problems == []
    assert (form["generate_audio"], form["spatial_upscaler"]) == (True, True)
    assert (form["detailer"], form["resolution"]) == (False, "720p")


def test_line_ends_are_those_of_text_files():
    shown = draft.filled({"prompt": " one\r\ntwo \r\n"})
    assert shown.value("prompt") == "one\ntwo"


def test_every_field_that_is_no_number_is_told():
    shown = draft.filled({"seed": "lucky", "duration": "4.5", "guidance_scale": "3,5"})
    _, problems = draft.request_of(shown, OFFER)
    assert {problem.field for problem in problems} == {"seed", "duration", "guidance_scale"}


def test_problems_stand_at_their_fields_and_the_rest_at_the_form():
    _, problems = draft.request_of(draft.filled({"seed": "lucky"}), OFFER)
    unknown = draft.Problem(field="webhook_url", message="No.")
    told = draft.with_problems(draft.fresh(OFFER), [*problems, unknown])
    assert told.problems == {"seed": "Seed must be a whole number; 'lucky' is none.", "": "No."}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("duration 7 is not available for fast", "Length 7 is not available for fast."),
        ("num_inference_steps must be from 1 to 100", "Steps must be from 1 to 100."),
        ("image: there is no such image", "First frame: there is no such image."),
        ("image_strength is 2", "Image_strength is 2."),
        ("a seed that guidance_scale has.", "A seed that Scale has."),
    ],
)
def test_what_is_wrong_is_told_with_the_names_that_the_form_shows(told, shown):
    problem = draft.Problem(field="seed", message=told)
    assert draft.with_problems(draft.fresh(OFFER), [problem]).problems == {"seed": shown}


def test_the_form_says_which_mode_has_what_not_all_have():
    form = composer(OFFER, draft.fresh(OFFER), {"fast": 52.0})
    cameras = {each.value: each.note for each in form.cameras}
    assert cameras["focus_shift"] == "Only in Pro"
    assert cameras["dolly_in"] == ""
    assert form.guided_only == "Only in Pro"
    assert form.modes[0].lately == "Lately about 50 s"
    assert form.modes[1].lately == ""


def toy():
    """The offer of a worker with the embedded checkpoint."""
    (model,) = OFFER.models
    return replace(OFFER, models=(replace(model, embedded=True),))


def test_what_is_said_around_the_form_fits_the_model():
    world, shapes = (composer(offer, draft.fresh(offer), {}) for offer in (OFFER, toy()))
    assert "heron" in world.guide.placeholder
    assert world.guide.note == ""
    assert "red square" in shapes.guide.placeholder
    assert "toy" in shapes.guide.note
    notes = {each.name: each.note for each in shapes.switches}
    assert "hum" in notes["generate_audio"]
    assert "without sense" in notes["enhance_prompt"]


def test_the_toys_examples_are_words_that_it_was_taught():
    words = {*world.COLOURS, *world.SHAPES, *world.GROUNDS, *world.TEXTURES}
    for _, prompt in guide(embedded=True).examples:
        assert len(words & set(prompt.split())) == 4, prompt


def test_the_script_gets_the_same_combinations_as_the_offer():
    matrix = composer(OFFER, draft.fresh(OFFER), {}).matrix
    fast = matrix["ltx-2.3"]["fast"]
    assert fast["resolutions"]["720p"]["durations"]["24"][-1] == 20
    assert fast["resolutions"]["1080p"]["durations"]["24"][-1] == 10
    assert "focus_shift" not in fast["cameras"]
    assert fast["guidance"] is False
