"""The published schemas: valid, true of every example, and never stricter than the worker."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ltx2.describe import describe
from ltx2.errors import BadRequest
from ltx2.request import PICTURES, PRO_ONLY, Request
from ltx2.worker.actions import schema
from ltx2.worker.answer import CODES, failure
from ltx2.worker.job import ACTIONS, OUTPUTS, find_action, read_task, read_words
from ltx2.worker.schema import input_schema, result_schema
from tests.rules.tree import ROOT
from tests.worker.from_schema import anything, fitting

INPUT = Draft202012Validator(input_schema())
RESULT = Draft202012Validator(result_schema())
URL = "https://pictures.example/cat.png"
DATA = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA"
DERANDOMISED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def taken(data):
    """Whether the worker takes a job's input, as far as it can tell from the input alone."""
    job = {"id": "a", "input": data}
    try:
        match find_action(job):
            case None:
                read_task(job)
            case "enhance":
                read_words(job)
    except BadRequest:
        return False
    return True


def test_both_schemas_are_valid():
    for each in (input_schema(), result_schema()):
        Draft202012Validator.check_schema(each)
        assert each["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        json.dumps(each, allow_nan=False)


def test_the_action_answers_both():
    assert schema() == {"input": input_schema(), "result": result_schema()}


def test_every_field_of_a_job_is_in_the_schema():
    clip = input_schema()["$defs"]["Clip"]["properties"]
    spellings = {each for spellings in PICTURES.values() for each in spellings}
    assert set(clip) == set(Request.model_fields) | spellings | {"output", "upload_url"}
    assert all(field["description"] for field in clip.values())
    assert {field["name"]: field["description"] for field in describe()["fields"]}.items() >= {
        name: clip[name]["description"] for name in Request.model_fields if name not in PICTURES
    }.items()
    assert clip["output"]["default"] == "auto"


def shown_inputs(file):
    """The inputs of jobs that a document shows, as JSON or as a Python dictionary of the same."""
    text = (ROOT / file).read_text()
    found = re.findall(r'"input": (\{[^{}]*\})', text) + re.findall(r"\.run\((\{[^{}]*\})", text)
    return [json.loads(block) for block in found if "…" not in block and "..." not in block]


@pytest.mark.parametrize("file", ["README.md", "docs/worker.md"])
def test_the_inputs_that_a_page_shows_are_valid(file):
    examples = shown_inputs(file)
    assert examples
    for example in examples:
        INPUT.validate(example)
        assert taken(example)


GOOD = [
    {"prompt": "a"},
    {"prompt": "a", "image_url": URL, "last_image_base64": DATA},
    {"prompt": "a", "image": "abcd" * 8, "image_url": None},
    {"prompt": "a", "image": DATA, "keyframes": [{"image": URL, "frame": 8}]},
    {"prompt": "a", "keyframes": [{"image": URL, "second": 1.5, "frame": None}]},
    {"prompt": "a", "width": 640, "height": 384, "num_frames": 9, "fps": 25},
    {"prompt": "a", "width": None, "height": None},
    {"prompt": "a", "mode": "pro", "guidance_scale": 3, "audio_stg_scale": 0.5},
    {"prompt": "a", "guidance_scale": None, "seed": 2**63 - 1},
    {"prompt": "a", "loras": [{"source": "dolly_in"}, {"source": "a/b:c.safetensors"}]},
    {"prompt": "a", "output": "url", "upload_url": "https://b.example/k?X-Amz-Signature=1"},
    {"prompt": "a", "output": None, "upload_url": None, "generation_id": "mine"},
    *({"action": action} for action in ACTIONS if action != "enhance"),
    {"action": "enhance", "prompt": "a"},
    {"action": "enhance", "prompt": "a", "image_url": URL, "image": None, "seed": 3},
]


@pytest.mark.parametrize("data", GOOD, ids=str)
def test_what_the_worker_takes_is_valid(data):
    INPUT.validate(data)
    assert taken(data)


BAD = [
    {},
    {"prompt": ""},
    {"prompt": " \n"},
    {"prompt": 5},
    {"prompt": "a", "colour": "red"},
    {"prompt": "a", "image_url": URL, "image": URL},
    {"prompt": "a", "image_url": URL, "image_base64": DATA},
    {"prompt": "a", "image_url": DATA},
    {"prompt": "a", "image_url": "ftp://pictures.example/cat.png"},
    {"prompt": "a", "image_base64": URL},
    {"prompt": "a", "image_base64": "short"},
    {"prompt": "a", "image_path": URL},
    {"prompt": "a", "image_path": DATA},
    {"prompt": "a", "width": 640},
    {"prompt": "a", "height": 640, "width": None},
    {"prompt": "a", "guidance_scale": 3},
    {"prompt": "a", "mode": "fast", "num_inference_steps": 8},
    {"prompt": "a", "keyframes": [{"image": URL}]},
    {"prompt": "a", "keyframes": [{"image": URL, "frame": 0, "second": 0}]},
    {"prompt": "a", "keyframes": [{"image": URL, "frame": 0, "colour": 1}]},
    {"prompt": "a", "loras": [{"source": "dolly_in"}] * 2},
    {"prompt": "a", "loras": [{"source": ""}]},
    {"prompt": "a", "loras": [{"source": "a"}, {"source": "b"}, {"source": "c"},
                              {"source": "d"}, {"source": "e"}]},
    {"prompt": "a", "seed": -1},
    {"prompt": "a", "fps": 23},
    {"prompt": "a", "detailer": 1},
    {"prompt": "a", "output": "file"},
    {"prompt": "a", "upload_url": 5},
    {"prompt": "a", "upload_url": "https://b.example/k", "output": "base64"},
    {"prompt": "a", "action": "health"},
    {"action": "reboot"},
    {"action": None},
    {"action": "enhance"},
    {"action": "enhance", "prompt": " "},
    {"action": "enhance", "prompt": "a", "duration": 5},
    {"action": "enhance", "prompt": "a", "image_url": URL, "image": URL},
    {"action": ["enhance"], "prompt": "a"},
    [],
    "prompt",
    None,
]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=str)
def test_what_breaks_a_rule_is_refused_by_schema_and_worker(data):
    assert not INPUT.is_valid(data)
    assert not taken(data)


@pytest.mark.parametrize("field", PRO_ONLY)
def test_a_field_of_mode_pro_is_refused_in_fast(field):
    for mode in ({}, {"mode": "fast"}):
        data = {"prompt": "a", field: 1, **mode}
        assert (INPUT.is_valid(data), taken(data)) == (False, False)
    data = {"prompt": "a", field: 1, "mode": "pro"}
    assert (INPUT.is_valid(data), taken(data)) == (True, True)


# --- what the schema refuses the worker refuses ----------------------------------------------


DEFINITIONS = input_schema()["$defs"]
CLIP = fitting(DEFINITIONS["Clip"], DEFINITIONS)
ANYTHING = anything(URL, DATA, *OUTPUTS, *ACTIONS, "fast", "pro", "")
NAMES = st.sampled_from([*DEFINITIONS["Clip"]["properties"], "action", "colour"])


@st.composite
def inputs(draw):
    """A clip's fields by the schema, some of them with any other value."""
    return draw(CLIP) | draw(st.dictionaries(NAMES, ANYTHING, max_size=2))


@settings(DERANDOMISED, max_examples=300)
@given(inputs())
def test_what_the_schema_refuses_the_worker_refuses(data):
    if not INPUT.is_valid(data):
        assert not taken(data)


@settings(DERANDOMISED, max_examples=150)
@given(ANYTHING)
def test_of_what_is_no_input_at_all_the_worker_takes_nothing(data):
    if not INPUT.is_valid(data):
        assert not taken(data)


def test_the_strategy_finds_inputs_of_both_kinds():
    seen = set()

    @settings(DERANDOMISED, max_examples=200)
    @given(inputs())
    def look(data):
        seen.add(INPUT.is_valid(data))

    look()
    assert seen == {True, False}


# --- results ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_an_error_is_valid(code):
    assert RESULT.is_valid(failure(code, "because"))
    assert RESULT.is_valid({**failure(code, "because"), "refresh_worker": True})


@pytest.mark.parametrize(
    "answer", [{}, {"error": ""}, {"error": "BAD: x", "error_code": "BAD"}, {"video": "AAAA"}]
)
def test_what_is_no_answer_is_not_valid(answer):
    assert not RESULT.is_valid(answer)


def test_the_result_of_a_clip_is_valid(engine, tmp_path):
    from ltx2.delivery.file import ToFile
    from ltx2.session import generate

    request = Request.parse({"prompt": "a", "width": 128, "height": 128, "num_frames": 9})
    receipt = generate(request, engine=engine, deliver=ToFile(tmp_path / "a.mp4"))
    result = {**receipt.as_dict(), "generation_id": "a"}
    RESULT.validate(result)
    both = {**result, "video": "AAAA"}
    assert not RESULT.is_valid(both)
    del both["video_url"]
    RESULT.validate(both)
    assert not RESULT.is_valid({**both, "error": "INTERNAL: x"})
