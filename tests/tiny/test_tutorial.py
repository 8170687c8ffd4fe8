"""Every command that the page of the tiny checkpoint shows does what the page says."""

import re
import shlex

import pytest

from ltx2.cli import build_parser, main
from ltx2.flags import read_request
from ltx2.media.video import probe
from tests.rules.tree import ROOT
from tiny import captions, layout, own_camera, pictures, world
from tiny.evaluate import __main__ as evaluation

PAGE = (ROOT / "docs/tiny.md").read_text(encoding="utf-8")
LINES = re.findall(r"^    (.+)$", PAGE, re.MULTILINE)
CAMERAS = [line for line in LINES if line.startswith("python -m tiny.own_camera ")]
# What its commands draw: those of the pictures, and the tutorial's own.
SHOWN = sorted((*pictures.PICTURES, "own_camera"))
CLIPS = [line for line in LINES if line.startswith("ltx2 generate ")]
# As little as can be trained: what a LoRA learns is not what is tested here.
LITTLE = ["--clips", "2", "--steps", "1", "--batch", "2", "--processes", "1", "--device", "cpu"]
SMALL = ["--width", "128", "--height", "64", "--num-frames", "9"]


def test_every_command_of_the_page_is_looked_at():
    assert set(LINES) == {*CAMERAS, *CLIPS}
    assert (len(CAMERAS), len(CLIPS)) == (2, 3)


@pytest.mark.slow
def test_cameras_are_trained_and_used_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in CAMERAS:
        _, _, _, *arguments = shlex.split(line)
        assert own_camera.main([*arguments, *LITTLE]) == 0
        told = capsys.readouterr().out
        assert "without: " in told
        assert "of the move" in told or "the move cannot be told" in told
    made = tmp_path / "runs/own_camera/diagonal"
    for name in ("diagonal.safetensors", "preview.webp", "preview.png", "training/log.jsonl"):
        assert (made / name).is_file(), name
    for line in CLIPS:
        _, *arguments = shlex.split(line)
        assert main([*arguments, *SMALL]) == 0
        assert probe(tmp_path / arguments[-1]).frames == 9


@pytest.mark.parametrize("line", CLIPS)
def test_clips_of_the_page_can_be_asked_for(line):
    arguments = build_parser().parse_args(shlex.split(line)[1:])
    assert read_request(arguments).prompt in PAGE


def test_the_page_lists_every_word_of_the_grammar():
    told = " ".join(PAGE.split())
    names = (*world.COLOURS, *world.SHAPES, *world.SIZES, *world.GROUNDS, *world.TEXTURES)
    said = (*captions.CAMERA.values(), captions.SILENCE[0].removeprefix(", "))
    missing = [word for word in names if not re.search(rf"\b{word}\b", told)]
    assert missing + [phrase for phrase in said if f'"{phrase}"' not in told] == []


@pytest.mark.parametrize("page", ["README.md", "docs/tiny.md"])
def test_no_number_of_a_page_waits_to_be_measured(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.findall("«.*?»", text, re.DOTALL) == []


def test_the_page_shows_every_picture_and_no_other():
    shown = re.findall(r"\]\(images/tiny/(\w+)\.webp\)", PAGE)
    assert sorted(shown) == SHOWN


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_of_the_page_loads_quickly(name):
    assert 0 < (ROOT / pictures.FOLDER / f"{name}.webp").stat().st_size < layout.LIMIT


def test_every_module_that_the_page_names_is_a_command():
    named = set(re.findall(r"python -m (tiny\.?\w*)", PAGE))
    assert named == {"tiny.train", "tiny.export", "tiny.card", "tiny.pictures", "tiny.own_camera"}
    for module in named:
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        assert 'if __name__ == "__main__":' in text
    assert "GROUP=cameras" in PAGE
    assert "cameras" in evaluation.GROUPS
