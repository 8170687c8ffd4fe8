"""The LoRA catalogue: what it holds, what it agrees with, and what its parser refuses."""

import typing

import pytest

from loras import catalog
from ltx2.request import Request
from pipelines.models import CHECKPOINTS, GENERATIONS

BLOCK = """
[[lora]]
id = "dolly_in"
title = "Dolly in"
kind = "camera"
repository = "someone/loras"
file = "in.safetensors"
generations = ["2.0"]
strengths = { base = 1.0, refine = 0.5 }
prompt_suffix = ", dolly in"
licence = "some licence"
source = "https://example.org/in"
"""
MOVES = ("dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static")


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match="the LoRA catalogue: ") as caught:
        catalog.parse(text)
    return str(caught.value)


def test_the_cameras_are_the_moves_of_a_request():
    field = Request.model_fields["camera_motion"].annotation
    assert set(catalog.cameras()) == set(typing.get_args(field)) - {"none"}
    assert catalog.cameras() == MOVES


@pytest.mark.parametrize("generation", ["2.0", "tiny"])
@pytest.mark.parametrize("move", MOVES)
def test_a_move_has_a_file_of_its_own_per_generation(move, generation):
    entry = catalog.get(move, generation)
    size = {"2.0": "19b", "tiny": "tiny"}[generation]
    assert (entry.id, entry.kind, entry.generations) == (move, "camera", (generation,))
    assert move.replace("_", "-") in entry.file
    assert size in entry.file
    assert entry.strengths == {"base": 1.0, "refine": 0.0}


def test_no_file_serves_two_entries():
    files = [(entry.repository, entry.file) for entry in catalog.entries()]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_asked_for_in_the_same_words_in_every_generation(move):
    suffixes = {entry.prompt_suffix for entry in catalog.entries() if entry.id == move}
    assert len(suffixes) == 1
    suffix = suffixes.pop()
    assert suffix.startswith(", ")
    assert move.replace("_", " ") in suffix


def test_every_generation_is_a_row_of_the_models():
    named = {generation for entry in catalog.entries() for generation in entry.generations}
    assert named == set(GENERATIONS)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=lambda row: row.name)
def test_the_distilled_loras_are_those_of_the_models(checkpoint):
    entry = catalog.get("distilled", checkpoint.generation.name)
    files = checkpoint.files
    assert (entry.repository, entry.file) == (files.repository, files.distilled_lora)
    assert entry.licence == files.licence
    assert entry.strengths == {"base": 0.0, "refine": 1.0}


@pytest.mark.parametrize("row", GENERATIONS.values(), ids=lambda row: row.name)
def test_camera_files_exist_where_the_models_say_so(row):
    fitting = [entry.kind for entry in catalog.entries() if row.name in entry.generations]
    assert ("camera" in fitting) == row.camera_loras


def test_an_unknown_id_is_answered_with_those_that_fit_the_generation():
    with pytest.raises(LookupError, match=r"'dolly_in' for 2\.5; the catalogue has distilled$"):
        catalog.get("dolly_in", "2.5")
    with pytest.raises(LookupError, match=r"'zoom' for 2\.0; the catalogue has dolly_in, dolly"):
        catalog.get("zoom", "2.0")
    with pytest.raises(LookupError, match="the catalogue has none"):
        catalog.get("dolly_in", "9.9")


def test_strengths_cannot_be_changed_by_a_caller():
    with pytest.raises(TypeError):
        catalog.get("dolly_in", "2.0").strengths["base"] = 2.0  # type: ignore[index]


def test_a_block_becomes_an_entry():
    (entry,) = catalog.parse(BLOCK)
    assert entry.repository == "someone/loras"
    assert entry.strengths["refine"] == 0.5
    assert entry.generations == ("2.0",)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("title =", "titel =", "unknown key 'titel'; block 1 (dolly_in): title is missing"),
        ('kind = "camera"', 'kind = "style"', "kind must be one of camera, detailer, distilled"),
        ("refine = 0.5", "refin = 0.5", "strengths must name base and refine"),
        (", refine = 0.5", "", "strengths must name base and refine"),
        ("refine = 0.5", "refine = 3", "strengths must be a number"),
        ("refine = 0.5", "refine = true", "strengths must be a number"),
        ("in.safetensors", "in.ckpt", "file must be the path of a .safetensors file"),
        ("in.safetensors", "../in.safetensors", "file must be the path"),
        ('["2.0"]', '"2.0"', "generations must be a list"),
        ('["2.0"]', "[]", "generations must be a list"),
        ('title = "Dolly in"', "title = 3", "title must be a text"),
        ('prompt_suffix = ", dolly in"\n', "", "every camera needs one"),
        ('source = "https://example.org/in"', 'source = ""', "repository and source go together"),
        ("[[lora]]", "[[loras]]", "unknown table 'loras'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(before, after, problem):
    assert BLOCK.count(before) == 1
    assert problem in refusal(BLOCK.replace(before, after))


def test_two_files_for_one_id_and_generation_are_refused():
    assert "block 2 (dolly_in): a second file for dolly_in of 2.0" in refusal(BLOCK + BLOCK)


def test_every_problem_is_named_at_once():
    broken = BLOCK.replace("in.safetensors", "in.ckpt").replace("[[lora]]", "[[lora]]\nrank = 4")
    message = refusal(broken + BLOCK.replace("licence =", "license ="))
    for part in ("block 1 (dolly_in): unknown key 'rank'", "file must", "block 2", "'license'"):
        assert part in message
