"""The request: what is accepted, and that everything wrong with one is said at once."""

import base64
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

import ltx2
from ltx2.errors import BadRequest
from ltx2.request import PICTURES, PRO_ONLY, Lora, Request, accepts

PNG = base64.b64encode(bytes(range(64))).decode()


def problems(data, **options):
    with pytest.raises(BadRequest) as caught:
        Request.parse(data, **options)
    return caught.value.problems


def refused(name, value, *, mode="fast"):
    """The one problem of a request whose only fault is this field."""
    found = problems({"prompt": "a ball", "mode": mode, name: value})
    assert len(found) == 1, found
    return found[0]


def test_a_prompt_is_enough():
    request = Request.parse({"prompt": "  a red ball  "})
    assert request.prompt == "a red ball"
    assert (request.mode, request.fps, request.aspect_ratio) == ("fast", 24, "auto")
    assert (request.seed, request.duration, request.resolution) == (None, None, None)
    assert request.generate_audio
    assert request.spatial_upscaler
    assert request.metadata


def test_keywords_and_parse_make_the_same_request():
    fields = {"prompt": "a", "seed": 7, "loras": [{"source": "dolly_in", "strength": 0.5}]}
    assert Request(**fields) == Request.parse(fields)
    assert Request(prompt="a", loras=(Lora(source="dolly_in"),)).loras[0].strength == 1.0


def test_keywords_raise_the_projects_error_not_pydantics():
    with pytest.raises(BadRequest) as caught:
        Request(prompt="", seed="5", colour="red")
    assert not isinstance(caught.value, ValidationError)
    assert len(caught.value.problems) == 3


def test_a_request_cannot_be_changed():
    request = Request(prompt="a")
    with pytest.raises(ValidationError):
        request.seed = 1


def test_all_problems_are_reported_at_once_and_each_names_its_field():
    found = problems(
        {
            "promt": "a",
            "mode": "turbo",
            "seed": "5",
            "duration": -1,
            "width": 640,
            "fps": 23,
            "loras": [{"source": "dolly_in", "strenght": 1}, {"source": "no such form"}],
            "last_image_url": "ftp://example.com/a.png",
        }
    )
    text = "\n".join(found)
    for part in (
        "unknown field 'promt'; did you mean prompt?",
        "prompt is required",
        "mode must be one of fast, pro; got 'turbo'",
        "seed must be a whole number from 0 to 9223372036854775807, or null; got '5'",
        "duration must be a number above 0, at most 20",
        "height is missing",
        "fps must be one of 24, 25, 30, 48, 50, 60; got 23",
        "loras[0]: unknown field 'strenght'",
        "loras[1].source must be a catalogue id",
        "last_image_url must be an http(s) URL",
    ):
        assert part in text
    assert len(found) == 10


def test_an_unknown_field_without_a_near_name_lists_what_is_accepted():
    found = problems({"prompt": "a", "zzz": 1})
    assert len(found) == 1
    assert all(name in found[0] for name in Request.model_fields)


@pytest.mark.parametrize("data", [None, [], "a ball", 5])
def test_a_request_that_is_no_object_is_refused(data):
    assert "JSON object" in problems(data)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "5"),
        ("seed", 5.0),
        ("seed", True),
        ("seed", -1),
        ("seed", 2**63),
        ("fps", True),
        ("fps", "24"),
        ("duration", "5"),
        ("duration", True),
        ("duration", 0),
        ("duration", 20.01),
        ("duration", math.nan),
        ("duration", math.inf),
        ("num_frames", 0),
        ("num_frames", 9.5),
        ("num_frames", 1202),
        ("image_strength", 1.01),
        ("image_strength", -0.01),
        ("camera_strength", 2.1),
        ("camera_motion", "spin"),
        ("resolution", "4k"),
        ("aspect_ratio", "2:1"),
        ("generate_audio", 1),
        ("generate_audio", "true"),
        ("prompt", ""),
        ("prompt", "   "),
        ("prompt", "x" * 10_001),
        ("prompt", "a\x00b"),
        ("prompt", "\ud800"),
        ("prompt", None),
        ("negative_prompt", 5),
        ("mode", None),
        ("generation_id", ""),
        ("generation_id", "x" * 201),
        ("loras", "dolly_in"),
        ("loras", [{"source": "dolly_in"}] * 5),
        ("image", ""),
        ("image", 5),
    ],
)
def test_a_value_outside_its_field_is_refused_by_one_sentence_that_names_the_field(name, value):
    text = refused(name, value)
    assert text.startswith(name)
    assert " must " in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("seed", 2**63 - 1),
        ("duration", 20),
        ("duration", 0.5),
        ("num_frames", 1),
        ("prompt", "x" * 10_000),
        ("prompt", "two\nlines, a\ttab and 球"),
        ("image_strength", 0),
        ("negative_prompt", ""),
        ("resolution", None),
        ("generation_id", "job-1"),
    ],
)
def test_a_value_at_its_bound_is_accepted(name, value):
    request = Request.parse({"prompt": "a", name: value})
    assert getattr(request, name) == value


@pytest.mark.parametrize("edge", [63, 4097])
def test_edges_have_bounds(edge):
    found = problems({"prompt": "a", "width": edge, "height": 640})
    assert found == [f"width must be a whole number from 64 to 4096, or null; got {edge}"]


def test_width_without_height_is_refused_either_way():
    assert "height is missing" in refused("width", 640)
    assert "width is missing" in refused("height", 640)


def test_num_frames_may_stand_beside_the_duration_that_it_replaces():
    request = Request.parse({"prompt": "a", "duration": 2, "num_frames": 49})
    assert (request.duration, request.num_frames) == (2, 49)


@pytest.mark.parametrize("name", PRO_ONLY)
def test_guidance_fields_in_fast_are_an_error_that_says_so(name):
    value = 1
    assert "mode pro only" in refused(name, value)
    assert "mode pro only" in problems({"prompt": "a", name: value})[0]  # fast is the default
    assert getattr(Request(prompt="a", mode="pro", **{name: value}), name) == value
    assert getattr(Request.parse({"prompt": "a", name: None}), name) is None


def test_pro_only_names_every_guidance_field():
    described = [
        name
        for name, info in Request.model_fields.items()
        if "mode pro only." in info.description and name != "negative_prompt"
    ]
    assert sorted(described) == sorted(set(PRO_ONLY) - {"negative_prompt"})


def test_an_explicit_zero_for_the_sound_stays_zero():
    request = Request(prompt="a", mode="pro", audio_stg_scale=0, audio_guidance_rescale=0)
    assert request.audio_stg_scale == 0
    assert request.audio_guidance_rescale == 0
    assert request.stg_scale is None


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("", "https://example.com/a.png"),
        ("", f"data:image/png;base64,{PNG}"),
        ("", PNG),
        ("_url", "http://example.com/a.png"),
        ("_base64", PNG),
        ("_base64", f"data:image/png;base64,{PNG}"),
    ],
)
def test_a_picture_can_be_given_in_every_form(name, suffix, value):
    assert getattr(Request.parse({"prompt": "a", name + suffix: value}), name) == value


@pytest.mark.parametrize("name", PICTURES)
def test_two_spellings_of_one_picture_are_an_error_even_if_they_agree(name):
    url = "https://example.com/a.png"
    found = problems({"prompt": "a", name: url, f"{name}_url": url})
    assert found == [f"{name} and {name}_url are spellings of one input; give one of them"]


def test_a_null_spelling_counts_as_not_given():
    url = "https://example.com/a.png"
    assert Request.parse({"prompt": "a", "image": None, "image_url": url}).image == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_url", "cat.png"),
        ("image_url", PNG),
        ("image_base64", "https://example.com/a.png"),
        ("image_base64", "cat.png"),
        ("image_url", 5),
    ],
)
def test_a_spelling_with_a_suffix_takes_only_what_the_suffix_says(name, value):
    assert refused(name, value).startswith(f"{name} must be ")


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "cat.png"},
        {"image": "/etc/passwd"},
        {"image": "file:///etc/passwd"},
        {"image_path": "cat.png"},
        {"last_image_path": "/etc/passwd"},
        {"loras": [{"source": "/etc/style.safetensors"}]},
    ],
)
def test_a_remote_caller_cannot_name_a_file(fields):
    found = problems({"prompt": "a", **fields})
    assert len(found) == 1
    assert "here" in found[0]


def test_paths_are_accepted_where_they_are_allowed():
    data = {
        "prompt": "a",
        "image": "cat.png",
        "last_image_path": "/pictures/dog.png",
        "loras": [{"source": "style.safetensors"}],
    }
    request = Request.parse(data, paths=True)
    assert request.image == "cat.png"
    assert request.last_image == "/pictures/dog.png"
    assert Request(prompt="a", image=Path("cat.png")).image == "cat.png"


def test_a_bare_word_given_as_a_path_cannot_be_taken_for_base64():
    request = Request.parse({"prompt": "a", "image_path": "abcdabcdabcdabcd"}, paths=True)
    assert request.image == "./abcdabcdabcdabcd"


@pytest.mark.parametrize("value", ["https://example.com/a.png", "data:image/png;base64,AAAA"])
def test_a_path_field_takes_only_a_path(value):
    found = problems({"prompt": "a", "image_path": value}, paths=True)
    assert found[0].startswith("image_path must be a path")


@pytest.mark.parametrize(
    "source",
    [
        "dolly_in",
        "https://example.com/style.safetensors?download=true",
        "someone/repo:folder/style.safetensors",
    ],
)
def test_every_form_of_a_lora_is_accepted(source):
    assert Request.parse({"prompt": "a", "loras": [{"source": source}]}).loras[0].source == source


@pytest.mark.parametrize(
    "source",
    [
        "",
        "two words",
        "ftp://example.com/a.safetensors",
        "someone/repo:../../secret.safetensors",
        "someone/repo:/etc/a.safetensors",
        "someone/repo:style.onnx",
    ],
)
def test_a_lora_of_no_known_form_is_refused(source):
    assert "loras[0].source must be" in refused("loras", [{"source": source}])


@pytest.mark.parametrize(
    "source", ["style.ckpt", "a/b:style.BIN", "https://example.org/style.pt?token=secret"]
)
def test_a_pickle_is_refused_by_its_name(source):
    text = refused("loras", [{"source": source}])
    assert "loras[0].source names a pickle, which could run any code" in text
    assert "secret" not in text


def test_errors_and_the_description_say_every_form_a_lora_may_have():
    texts = [
        refused("loras", [{"source": "two words"}]),
        *problems({"prompt": "a", "loras": [{"source": "style.safetensors"}]}),
        Lora.model_fields["source"].description,
    ]
    for text in texts:
        for form in ("catalogue id", "http(s) URL", "owner/name:"):
            assert form in text


def test_a_url_that_is_given_twice_is_named_without_its_query():
    url = "https://example.org/style.safetensors?token=secret"
    text = refused("loras", [{"source": url}, {"source": url}])
    assert "example.org/style" in text
    assert "secret" not in text


def test_one_lora_twice_in_one_pass_is_refused_and_once_in_each_is_not():
    once = [{"source": "dolly_in", "stages": "base"}, {"source": "dolly_in", "stages": "refine"}]
    assert len(Request(prompt="a", loras=once).loras) == 2
    twice = [{"source": "dolly_in"}, {"source": "dolly_in", "stages": "refine"}]
    assert "twice" in refused("loras", twice)


def test_an_error_does_not_repeat_the_query_of_a_url():
    text = problems({"prompt": "a", "image_base64": "https://example.com/a.png?key=secret"})[0]
    assert "secret" not in text


def test_an_error_shows_a_long_value_shortened():
    assert len(refused("image_url", "x" * 100_000)) < 200


@pytest.mark.parametrize("name", Request.model_fields)
def test_every_field_has_a_sentence_and_can_say_what_it_accepts(name):
    assert Request.model_fields[name].description.endswith(".")
    assert len(accepts([name])) > 5


def test_the_public_names_are_pinned():
    assert sorted(ltx2.__all__) == [
        "BadRequest",
        "Cancelled",
        "ConfigError",
        "DeliveryFailed",
        "Engine",
        "GenerationFailed",
        "Limits",
        "Lora",
        "Ltx2Error",
        "MediaRefused",
        "OutOfMemory",
        "PictureFacts",
        "Plan",
        "Progress",
        "Receipt",
        "Request",
        "Result",
        "Settings",
        "TooLarge",
        "UnknownLora",
        "VideoRequest",
        "generate",
        "plan",
        "restore",
    ]
    assert set(ltx2.__all__) <= set(dir(ltx2))


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = ltx2.nothing_like_this
