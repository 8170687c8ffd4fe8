"""A job's dictionary to a task: forms, problems, and what makes two jobs one."""

import pytest

from ltx2.errors import BadRequest
from ltx2.worker.job import find_action, job_id, read_task, read_words

PICTURE = "https://pictures.example/cat.png"


def task(top=None, **fields):
    return read_task({"id": "j1", "input": {"prompt": "a cat", **fields}, **(top or {})})


def problems(job, read=read_task):
    with pytest.raises(BadRequest) as refusal:
        read(job)
    return refusal.value.problems


def test_a_prompt_alone_is_a_task():
    found = task()
    assert found.request.prompt == "a cat"
    assert (found.output, found.upload_url, found.s3_config) == ("auto", None, None)
    assert (found.generation_id, found.own_key, found.seconds) == ("j1", False, None)


def test_the_callers_key_goes_before_the_jobs_number():
    found = task(generation_id="mine")
    assert (found.generation_id, found.own_key) == ("mine", True)


@pytest.mark.parametrize("job", [{}, {"id": ""}, {"id": None}, {"id": "local_test"}])
def test_jobs_without_a_name_of_their_own_are_never_taken_for_one_another(job):
    first, second = (read_task({**job, "input": {"prompt": "a cat"}}) for _ in range(2))
    assert first.generation_id != second.generation_id
    assert not first.own_key


@pytest.mark.parametrize("spelling", ["image", "image_url"])
def test_a_picture_comes_as_the_callers_of_other_workers_send_it(spelling):
    assert task(**{spelling: PICTURE}).request.image == PICTURE


def test_a_picture_comes_as_base64_with_or_without_its_prefix():
    data = "iVBORw0KGgoAAAANSUhEUg=="
    assert task(image_base64=data).request.image == data
    uri = f"data:image/png;base64,{data}"
    assert task(image_base64=uri).request.image == uri


def test_the_execution_timeout_of_the_policy_is_in_milliseconds():
    assert task({"policy": {"executionTimeout": 90_000}}).seconds == 90
    for odd in (None, [], {}, {"executionTimeout": "9"}, {"executionTimeout": True}):
        assert task({"policy": odd}).seconds is None


def test_all_problems_of_a_job_are_said_at_once():
    found = problems(
        {"id": "j", "input": {"output": "file", "upload_url": 3, "seed": -1}, "s3Config": "no"}
    )
    said = "; ".join(found)
    for part in ("prompt is required", "seed must be", "output must be one of", "upload_url",
                 "s3Config must be an object"):  # fmt: skip
        assert part in said


def test_a_path_of_the_worker_is_no_picture():
    assert "image_path" in problems({"input": {"prompt": "x", "image_path": "/etc/passwd"}})[0]


@pytest.mark.parametrize("given", [None, [], "text", 3])
def test_an_input_is_an_object(given):
    assert "must be a JSON object" in problems({"id": "j", "input": given})[0]
    assert "must be a JSON object" in problems({"id": "j", "input": given}, find_action)[0]


def test_an_upload_address_does_not_go_with_base64():
    assert problems({"input": {"prompt": "x", "output": "base64", "upload_url": PICTURE}})


def test_an_action_stands_alone():
    assert find_action({"input": {"action": "health"}}) == "health"
    assert find_action({"input": {"prompt": "x"}}) is None
    assert (
        "one of health, schema, smoke, enhance"
        in problems({"input": {"action": "x"}}, find_action)[0]
    )
    assert "'prompt'" in problems({"input": {"action": "smoke", "prompt": "x"}}, find_action)[0]


def test_words_to_enrich_stand_beside_their_action():
    job = {"id": "j", "input": {"action": "enhance", "prompt": " a cat ", "image_url": PICTURE}}
    assert find_action(job) == "enhance"
    words = read_words({**job, "policy": {"executionTimeout": 60_000}})
    assert (words.request.prompt, words.request.image, words.seconds) == ("a cat", PICTURE, 60)
    assert words.request.enhance_prompt
    assert words.request.seed == read_words(job).request.seed
    assert read_words({"input": {**job["input"], "seed": 4}}).request.seed == 4


def test_what_is_wrong_with_words_is_said_at_once():
    wide = {"action": "enhance", "prompt": "a cat", "width": 640}
    assert "enhance takes prompt, seed, image" in problems({"input": wide}, find_action)[0]
    empty = {"action": "enhance", "prompt": "", "seed": -1}
    said = "; ".join(problems({"input": empty}, read_words))
    assert "prompt must be" in said
    assert "seed must be" in said
    assert "prompt is required" in problems({"input": {"action": "enhance"}}, read_words)[0]


def test_equal_work_has_one_digest_and_other_work_another():
    first = task(image_url=f"{PICTURE}?signature=1", output="url")
    again = task(image_url=f"{PICTURE}?signature=2", output="auto", generation_id="k")
    assert first.request_sha256 == again.request_sha256
    assert first.request_sha256 != task(image_url=f"{PICTURE}2").request_sha256
    assert task().request_sha256 != task(seed=1).request_sha256
    assert task(seed=None).request_sha256 == task().request_sha256


@pytest.mark.parametrize(
    ("job", "name"), [({"id": "a"}, "a"), ({}, "unknown"), ({"id": 3}, "unknown")]
)
def test_a_job_has_a_name_for_the_log(job, name):
    assert job_id(job) == name


def test_a_seed_that_is_left_open_is_the_jobs_own_and_stays_with_it():
    first = task(generation_id="a")
    assert first.request.seed == task(generation_id="a").request.seed
    assert first.request.seed != task(generation_id="b").request.seed
    assert task(generation_id="a", seed=4).request.seed == 4
    assert first.request_sha256 != task(generation_id="a", seed=4).request_sha256
