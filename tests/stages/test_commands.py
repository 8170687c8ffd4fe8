"""What the commands that make a clip say while they run and at their end, and what goes into it."""

import json
import re

import av
import pytest

import ltx2
from ltx2.cli import main
from ltx2.delivery.file import ToFile
from ltx2.engine import Engine
from ltx2.settings import Settings
from pipelines.models import CHECKPOINTS
from tests.media.videos import video
from tests.stages import gguf_files

SMALL = ["--width", "128", "--height", "64", "--num-frames", "9"]
ROUNDED = [
    "warning: the transformer's weights are rounded to int8",
    "warning: the text encoder's weights are rounded to int8",
]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A folder to work in, where the commands take the embedded checkpoint."""
    monkeypatch.setenv("LTX2_CHECKPOINT", "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tags(path):
    with av.open(str(path)) as file:
        return json.loads(file.metadata["comment"])


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "a red ball", *SMALL],
        ["detail", "in.mp4"],
        ["upscale", "in.mp4", "--spatial", "1.5"],
    ],
)
def test_rounded_weights_are_told_of_at_the_end_in_the_result_and_in_the_file(
    shell, capsys, command
):
    video(shell / "in.mp4", count=9)
    line = [*command, "--seed", "7", "--quantise", "int8", "-o", "out.mp4"]
    assert main(line) == 0
    said = capsys.readouterr().err.splitlines()
    assert [text for text in said[-3:-1] if text.startswith("warning")] == ROUNDED
    assert said[-1].startswith("out.mp4: ")
    written = tags(shell / "out.mp4")
    assert written["weights"] == "transformer int8; text_encoder int8"
    assert main([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["weights"] == {"transformer": "int8", "text_encoder": "int8"}
    assert told["plan_id"] == written["plan_id"]


def test_exact_weights_leave_no_tag_and_an_empty_field(shell, capsys):
    line = ["generate", "a red ball", *SMALL, "--seed", "7", "-o", "out.mp4", "--json"]
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == {}
    assert "weights" not in tags(shell / "out.mp4")
    assert tags(shell / "out.mp4")["plan_id"]


def test_weights_of_a_gguf_file_are_named_by_their_types(tiny, tmp_path):
    source = tiny / CHECKPOINTS["tiny"].files.distilled
    file = gguf_files.write(tmp_path / "mine-distilled.gguf", source, "Q8_0")
    engine = Engine.load(str(file), settings=Settings.from_env({}))
    asked = ltx2.Request(prompt="x", width=128, height=64, num_frames=9, seed=7)
    made = engine.generate(asked)
    assert made.weights == {"transformer": "gguf Q8_0"}
    made.save(tmp_path / "out.mp4")
    receipt = ltx2.generate(asked, engine=engine, deliver=ToFile(tmp_path / "other.mp4"))
    assert receipt.as_dict()["weights"] == made.weights
    for name in ("out.mp4", "other.mp4"):
        assert tags(tmp_path / name)["weights"] == "transformer gguf Q8_0"


def memory_lines(text):
    return re.findall(r"^memory: (\w+), (.*)$", text, re.MULTILINE)


def test_the_memory_that_is_told_is_that_of_this_clip(shell, capsys, monkeypatch):
    monkeypatch.setenv("LTX2_DEVICE_MEMORY_GIB", "0.5")
    found = []
    for height, frames in (("64", "9"), ("320", "33")):
        size = ["--width", "256", "--height", height, "--num-frames", frames]
        assert main(["generate", "a red ball", *size, "--seed", "7", "-o", "out.mp4"]) == 0
        said = capsys.readouterr().err
        ((_, reason),) = memory_lines(said)
        assert said.index("memory: ") < said.index("\nload ")
        found.append(float(re.match(r"at most ([\d.]+) of 0\.5 GiB", reason)[1]))
    assert found[0] < found[1]


def test_a_residency_that_is_set_is_told_so_with_what_the_video_takes(shell, capsys, monkeypatch):
    video(shell / "in.mp4", count=9)
    monkeypatch.setenv("LTX2_DEVICE_MEMORY_GIB", "0.9")
    monkeypatch.setenv("LTX2_RESIDENCY", "offload")
    assert main(["detail", "in.mp4", "--seed", "7", "-o", "out.mp4"]) == 0
    ((residency, reason),) = memory_lines(capsys.readouterr().err)
    assert residency == "offload"
    assert re.match(r"it is set so; (at most|there is plenty)", reason)


@pytest.mark.parametrize("command", ["detail", "upscale"])
def test_a_mistyped_option_of_a_video_command_is_answered_with_the_right_one(
    shell, capsys, command
):
    for option in ("--quantise", "--checkpoint", "--json"):
        assert main([command, "in.mp4", option[:-1], "x"]) == 2
        assert f"did you mean {option}?" in capsys.readouterr().err
