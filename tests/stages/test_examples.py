"""Every command line that a page shows does what it says: requests plan, videos are worked on."""

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx2.cli import build_parser, main
from ltx2.examples import EXAMPLES
from ltx2.extent import Limits
from ltx2.flags import read_request
from ltx2.media.encode import write_mp4
from ltx2.media.fetch import MediaLimits
from ltx2.prepare import prepare
from ltx2.request import Request
from ltx2.video_request import VideoRequest
from pipelines.models import CHECKPOINTS
from tests.media.clips import clip, tone
from tests.rules.tree import ROOT

PAGES = ("README.md", "docs/controls.md")


def page_lines(*commands: str) -> list[str]:
    """The lines of these commands that the pages set as code, each once."""
    found: dict[str, None] = {}
    for page in PAGES:
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            shown = re.fullmatch(r"    (?:[A-Z0-9_]+=\S+ )*(ltx2 (\w+) .+)", line)
            if shown and shown[2] in commands:
                found[shown[1]] = None
    return list(found)


def help_lines(*commands: str) -> list[str]:
    """The lines that end the help of these commands."""
    return [line for name in commands for line in EXAMPLES.get(name, ())]


def lines(*commands: str) -> list[str]:
    """All of them."""
    return [*page_lines(*commands), *help_lines(*commands)]


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """A folder that holds every file the pages name."""
    picture = np.linspace(0, 255, 90 * 160 * 3).reshape(90, 160, 3).astype(np.uint8)
    for name in ("photo.jpg", "last.jpg"):
        Image.fromarray(picture).save(tmp_path / name)
    camera = tiny / "ltx-2-tiny-lora-camera-control-dolly-in.safetensors"
    shutil.copy(camera, tmp_path / "style.safetensors")
    frames = np.repeat(picture[None, :64, :96], 9, axis=0)
    write_mp4(
        clip(frames, audio=tone(0.375, 24000), rate=24000), tmp_path / "in.mp4", metadata=None
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", lines("generate", "plan"))
def test_a_request_that_a_page_shows_can_be_planned(folder, line):
    arguments = build_parser().parse_args(shlex.split(line)[1:])
    row = CHECKPOINTS.get(arguments.checkpoint or "tiny", CHECKPOINTS["tiny"])
    request = read_request(arguments)
    made = prepare(request, checkpoint=row, limits=Limits(), media=MediaLimits()).plan
    assert made.prompt.startswith(request.prompt)
    assert arguments.run.__name__ in ("run_generate", "run_plan")


@pytest.mark.parametrize("line", lines("detail", "upscale"))
def test_a_video_that_a_page_works_on_is_written(folder, monkeypatch, tiny, line):
    assert main(shlex.split(line)[1:]) == 0
    named = re.search(r"-o (\S+)", line)
    target = Path(named[1]) if named else next(folder.glob("ltx2-*.mp4"))
    assert target.stat().st_size > 1000


@pytest.mark.parametrize("shows", [page_lines, help_lines])
def test_pages_and_help_show_every_control(shows):
    shown = " ".join(shows("generate"))
    hidden = {"prompt"} if shows is help_lines else {"prompt", "metadata", "generation_id"}
    for name in Request.model_fields.keys() - hidden:
        option = {"loras": "lora", "keyframes": "keyframe"}.get(name, name).replace("_", "-")
        assert re.search(rf"--(no-)?{option}\b", shown), name


@pytest.mark.parametrize("shows", [page_lines, help_lines])
def test_pages_and_help_show_every_control_of_videos(shows):
    shown = " ".join(shows("detail", "upscale"))
    assert {line.split()[1] for line in shows("detail", "upscale")} == {"detail", "upscale"}
    for field in fields(VideoRequest):
        if field.name in ("task", "video", "metadata", "generation_id"):  # not on every page
            continue
        assert re.search(rf"--(no-)?{field.name}\b", shown), field.name
    for factor in (1, 1.5):
        assert re.search(rf"--spatial {factor} ", shown), factor


def blocks() -> list[str]:
    """The Python that the page of controls shows."""
    page = (ROOT / "docs/controls.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_python_that_a_page_shows_does_what_it_says(folder, monkeypatch, tiny, capsys):
    (block,) = blocks()
    assert "ltx2.restore(" in block
    exec(block, {})
    assert capsys.readouterr().out == f"{(folder / 'larger.mp4').as_uri()}\n"
    assert (folder / "larger.mp4").stat().st_size > 1000


def test_there_are_lines_to_check():
    assert len(lines("generate", "plan")) > 25
    assert len(lines("detail", "upscale")) >= 8
