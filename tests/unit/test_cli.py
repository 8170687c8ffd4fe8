"""The command line through its front door: exit codes, what goes to which stream, and what is
refused when.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltx2.cli import build_parser, main
from ltx2.delivery.file import new_name
from ltx2.flags import flag, lora, request_fields
from ltx2.planner import plan
from ltx2.progress import Event, Progress
from ltx2.progress_bar import ProgressBar, duration
from ltx2.request import PICTURES, Request
from pipelines.models import CHECKPOINTS
from tests.unit.hub_server import FakeHub, serving

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--width", "128", "--height", "128", "--num-frames", "9", "--seed", "7"]
GEMMA = "google/gemma-3-12b-it-qat-q4_0-unquantized"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with empty caches and no settings, in an empty folder."""
    for name in list(os.environ):
        if name.startswith(("LTX2_", "HF_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for place in ("BAKED_WEIGHTS", "VOLUME_WEIGHTS", "RUNPOD_CACHE"):
        monkeypatch.setenv(f"LTX2_{place}", str(tmp_path / "nothing"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return here


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def torch_after(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which says on stdout whether torch came in."""
    return run_python(
        "import sys, contextlib, io\n"
        "from ltx2.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try:\n"
        f"        code = main({list(arguments)!r})\n"
        "    except SystemExit as end:\n"
        "        code = end.code\n"
        "print('torch' in sys.modules)\n"
        "sys.exit(code)"
    )


# Refusals


def test_bad_input_is_refused_with_every_problem_before_torch_and_weights(machine: Path) -> None:
    ran = torch_after(
        "generate",
        "",
        *("--fps", "23", "--mode", "slow", "--width", "100", "--lora", "x@strong@base"),
        *("-o", "clip.avi", "--device", "tpu"),
    )
    lines = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert all(line.startswith("error: ") for line in lines)
    for word in ("prompt", "fps", "mode", "height", "strong", "--output", "--device"):
        assert any(word in line for line in lines), (word, lines)
    assert len(lines) == 7
    assert ran.stdout == "False\n"
    assert not (machine.parent / "home").exists()
    assert list(machine.iterdir()) == []


def test_a_request_the_planner_refuses_is_refused_before_torch_and_weights(machine: Path) -> None:
    ran = torch_after("generate", "a red ball", "--detailer", "--checkpoint", "ltx-2.3")
    assert ran.returncode == 2
    assert "detailer" in ran.stderr
    assert ran.stdout == "False\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["generate"], 2, "prompt"),
        (["generate", "x", "--sed", "1"], 2, "--sed"),
        (["nonsense"], 2, "nonsense"),
        (["generate", "x", "--checkpoint", "ltx-9"], 2, "accepted are auto"),
        (["generate", "x", "--checkpoint", "ltx-2.3"], 1, "ltx2 download --checkpoint ltx-2.3"),
        (["generate", "x", "--image", "no-such.png"], 2, "image"),
        (["download", "--checkpoint", "tiny"], 2, "comes with the package"),
    ],
)
def test_what_a_user_can_cause_is_a_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    try:
        got = main(arguments)
    except SystemExit as end:
        got = end.code
    out, err = capsys.readouterr()
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err


def test_with_json_a_failure_is_one_json_document_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate", "x", "--fps", "23", "--json"]) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["error"].startswith("BAD_REQUEST: fps")
    assert err == f"error: {answer['problems'][0]}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "--json"], "prompt"),
        (["generate", "x", "--json", "--fps"], "--fps"),
        (["download", "--mode", "slow", "--json"], "--mode"),
        (["models", "--json", "--bogus"], "--bogus"),
    ],
)
def test_with_json_a_line_that_cannot_be_read_is_one_json_document_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["error"].startswith("BAD_REQUEST: ")
    assert words in answer["problems"][0]
    assert err == f"error: {answer['problems'][0]}\n"


def test_a_target_that_cannot_be_written_is_found_before_torch_and_weights(
    machine: Path,
) -> None:
    long = "x" * 300 + ".mp4"
    for target in ("/proc/clip.mp4", long):  # where not even root makes a file
        ran = torch_after("generate", "x", "--checkpoint", "tiny", "-o", target)
        assert ran.returncode == 2, ran.stderr
        assert ran.stderr.startswith("error: --output must be")
        assert ran.stdout == "False\n"
    assert not (machine.parent / "home").exists()


def test_this_folder_must_take_a_clip_without_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/proc")
    assert main(["generate", "x", "--checkpoint", "tiny"]) == 2
    assert "error: --output must be a file that can be written; /proc" in capsys.readouterr().err


def test_a_traceback_is_shown_only_where_the_setting_asks_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTX2_DEBUG", "1")
    assert main(["generate", "x", "--fps", "23"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_setting_that_cannot_be_read_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTX2_X264_CRF", "best")
    assert main(["models"]) == 1
    assert "LTX2_X264_CRF must be" in capsys.readouterr().err


# Options


def test_every_field_of_the_request_has_an_option_with_its_sentence() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "ltx2", "generate", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "400"},
    ).stdout
    for name, field in Request.model_fields.items():
        listed = {"prompt": "prompt", "loras": "--lora", "keyframes": "--keyframe"}
        option = listed.get(name, flag(name))
        assert re.search(rf"^  .*{option}\b", text, re.MULTILINE), option
        assert field.description is not None
        assert field.description in text
    assert "{540p,720p,1080p}" in text
    assert "0 to 20" in text


def test_the_version_is_that_of_the_project_and_in_the_help() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    command = [sys.executable, "-m", "ltx2"]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"ltx2 {project['version']}\n"
    help_text = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--version" in help_text.stdout


def test_options_become_the_fields_they_name_with_their_types() -> None:
    arguments = build_parser().parse_args(
        [
            *("plan", "a cat", "--duration", "2.5", "--fps", "30", "--no-generate-audio"),
            *("--image", "https://example.org/cat.png", "--mode", "pro"),
            *("--lora", "mine.safetensors@0.5@base", "--lora", "other"),
        ]
    )
    assert request_fields(arguments) == (
        {
            "prompt": "a cat",
            "duration": 2.5,
            "fps": 30,
            "generate_audio": False,
            "image": "https://example.org/cat.png",
            "mode": "pro",
            "loras": [
                {"source": "mine.safetensors", "strength": 0.5, "stages": "base"},
                {"source": "other"},
            ],
        },
        [],
    )


def test_every_spelling_of_a_picture_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "image_url": "https://example.org/cat.png",
        "last_image_path": "cat.png",
    }
    options = [part for name, value in given.items() for part in (flag(name), value)]
    arguments = build_parser().parse_args(["plan", "a cat", *options])
    assert request_fields(arguments) == ({"prompt": "a cat", **given}, [])
    for names in PICTURES.values():
        for name in names:
            build_parser().parse_args(["generate", "a cat", flag(name), "x"])
    assert main(["plan", "a cat", "--image-url", "cat.png", "--last-image-base64", "%"]) == 2
    err = capsys.readouterr().err
    assert "image_url must be an http(s) URL" in err
    assert "last_image_base64 must be base64" in err


def test_two_spellings_of_one_picture_are_refused(
    capsys: pytest.CaptureFixture[str], machine: Path
) -> None:
    (machine / "picturesofthecat").write_bytes(b"")
    options = ["--image", "picturesofthecat", "--image-path", "cat.png"]
    assert main(["plan", "a cat", *options]) == 2
    assert "image and image_path are spellings of one input" in capsys.readouterr().err


def test_a_file_whose_name_looks_like_base64_is_taken_as_the_file(machine: Path) -> None:
    (machine / "picturesofthecat").write_bytes(b"")
    arguments = build_parser().parse_args(["plan", "a cat", "--image", "picturesofthecat"])
    assert request_fields(arguments)[0]["image_path"] == "picturesofthecat"
    (machine / "picturesofthecat").unlink()
    assert request_fields(arguments)[0]["image"] == "picturesofthecat"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dolly", {"source": "dolly"}),
        ("dolly@0.5", {"source": "dolly", "strength": 0.5}),
        ("dolly@-1@refine", {"source": "dolly", "strength": -1, "stages": "refine"}),
        ("https://me@host/x.safetensors", {"source": "https://me@host/x.safetensors"}),
        ("a@b.safetensors@2@both", {"source": "a@b.safetensors", "strength": 2, "stages": "both"}),
    ],
)
def test_a_lora_is_source_strength_and_stages(text: str, expected: dict[str, object]) -> None:
    assert lora(text) == expected


@pytest.mark.parametrize("text", ["dolly@base", "dolly@strong@base"])
def test_a_lora_with_stages_needs_its_strength(text: str) -> None:
    with pytest.raises(ValueError, match="SOURCE"):
        lora(text)


# Plan


def test_plan_prints_the_plan_alone_and_says_on_stderr_what_was_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--width", "1000", "--height", "704", "--seed", "7"]
    assert main(["plan", "a red ball", "--checkpoint", "ltx-2.3", *arguments]) == 0
    out, err = capsys.readouterr()
    request = Request(prompt="a red ball", width=1000, height=704, seed=7)
    assert json.loads(out) == plan(request, checkpoint=CHECKPOINTS["ltx-2.3"]).as_dict()
    assert "note: width 1000 became 960" in err


def test_the_limits_of_the_settings_hold_for_plans(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTX2_MAX_SECONDS", "3")
    assert main(["plan", "a red ball", "--duration", "4"]) == 2
    assert "3 s that this worker takes" in capsys.readouterr().err


def test_plan_and_help_need_no_torch() -> None:
    for arguments in (["--help"], ["generate", "--help"], ["plan", "a red ball"]):
        ran = torch_after(*arguments)
        assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr


# Tables


def test_models_are_the_model_table_with_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert list(rows) == list(CHECKPOINTS)
    assert rows["tiny"]["missing"] == {"fast": [], "pro": []}
    assert rows["tiny"]["embedded"]
    assert CHECKPOINTS["ltx-2.3"].files.dev in rows["ltx-2.3"]["missing"]["pro"]
    assert rows["ltx-2.5"]["gated"]
    assert set(rows["ltx-2.5"]["missing_extras"]) == {"enhance_prompt", "automatic duration"}
    smaller = CHECKPOINTS["ltx-2.3"].files.spatial_upscaler_x1_5
    assert rows["ltx-2.3"]["missing_extras"] == {"upscaling by 1.5": smaller}
    assert rows["ltx-2"]["missing_extras"] == rows["tiny"]["missing_extras"] == {}
    assert main(["models"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["NAME", "DEFAULT", "FAST", "PRO", "EXTRAS", "LICENCE"]
    assert len(table) == 1 + len(CHECKPOINTS)


def test_loras_are_the_catalogue(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loras import catalog

    camera, distilled = catalog.get("jib_up", "2.0"), catalog.get("distilled", "2.3")
    here = [tmp_path / "loras" / camera.file, tmp_path / "ltx-2.3" / distilled.file]
    for file in here:
        file.parent.mkdir()
        file.touch()
    monkeypatch.setenv("LTX2_WEIGHTS", str(tmp_path))
    assert main(["loras", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["loras"]
    assert [row["id"] for row in rows] == [entry.id for entry in catalog.entries()]
    assert [row["path"] for row in rows if row["path"]] == [str(file) for file in here]
    assert main(["loras"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(rows)
    (line,) = [line for line in lines if line.startswith("jib_up") and " 2.0 " in line]
    for words in ("camera", "base 1, refine 0", "yes", camera.licence, camera.source, "crane"):
        assert words in line
    assert "built in" in lines[-1]


def test_doctor_says_what_can_run_and_masks_the_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["doctor", "--json"]) == 0
    text = capsys.readouterr().out
    report = json.loads(text)
    assert "hf_secret" not in text
    assert report["settings"]["HF_TOKEN"] == "set"
    assert report["can_run"]
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["ffmpeg"]["fine"]
    assert checks["torch build"]["fine"]
    found = checks["residency"]["found"]
    assert re.match(r"(resident|staged|freed|offload|stream) for \S+: ", found)
    missing = report["models"]["ltx-2.3"]["fast"]["missing"]
    assert CHECKPOINTS["ltx-2.3"].files.distilled in missing
    assert main(["doctor"]) == 0
    assert "this machine can run" in capsys.readouterr().out


def test_doctor_fails_where_nothing_can_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltx2.doctor.LIBRARIES", ("no-such-library",))
    assert main(["doctor"]) == 1
    assert "FAIL no-such-library not installed" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "ltx2", "loras", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == ""
    running.stderr.close()
    assert running.wait(timeout=60) == 1


# Download


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    files = CHECKPOINTS["ltx-2.3"].files
    encoder = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights"}
    names = (files.distilled, files.spatial_upscaler, files.temporal_upscaler)
    model = dict.fromkeys(names, b"weights")
    fake = FakeHub({files.repository: model, GEMMA: encoder})
    with serving(fake) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield fake


def test_download_lists_fetches_and_reports(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, machine: Path
) -> None:
    command = ["download", "--mode", "fast", "--to", "models", "--json"]
    assert main([*command, "--dry-run"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {file["state"] for file in listed["files"]} == {"absent"}
    assert not (machine / "models").exists()
    assert main(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert {file["state"] for file in done["files"]} == {"present"}
    assert done["bytes_to_fetch"] == 0
    for file in done["files"]:
        assert Path(file["path"]).stat().st_size == file["bytes"]


def every_lora() -> FakeHub:
    """A hub that holds all files of the catalogue."""
    from loras import catalog

    fake = FakeHub({})
    for entry in catalog.entries():
        if entry.repository:
            fake.repositories.setdefault(entry.repository, {})[entry.file] = entry.file.encode()
    return fake


def test_loras_without_a_model_are_every_lora_of_the_catalogue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = every_lora()
    with serving(fake) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert main(["download", "--loras"]) == 0
    assert main(["loras", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["loras"]
    assert len(rows) > 10
    for row in rows:
        assert row["built_in"] == (row["path"] is None)
        if row["path"]:
            assert Path(row["path"]).read_text() == row["file"]


def test_all_loras_in_a_folder_are_found_there_and_gated_ones_are_left_out_aloud(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = every_lora()
    fake.gated.add("Lightricks/LTX-2.5")
    with serving(fake) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert main(["download", "--loras", "--to", "models", "--json"]) == 0
    out, err = capsys.readouterr()
    (why,) = json.loads(out)["left_out"]
    assert "accept its licence at https://huggingface.co/Lightricks/LTX-2.5" in why
    assert f"warning: left out: {why}\n" in err
    monkeypatch.setenv("LTX2_WEIGHTS", "models")
    assert main(["loras", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["loras"]
    lost = [row["generations"] for row in rows if not (row["built_in"] or row["path"])]
    assert lost == [["2.5"]]


def test_all_loras_belong_to_no_mode_and_no_layout(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    for option in (["--mode", "pro"], ["--diffusers"]):
        assert main(["download", "--loras", *option]) == 2
        assert "name it with --checkpoint" in capsys.readouterr().err
    assert hub.requests == []


def test_download_respects_the_offline_switch(
    capsys: pytest.CaptureFixture[str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["download"]) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert hub.requests == []


def test_a_gated_model_ends_with_the_licence_page(
    capsys: pytest.CaptureFixture[str], hub: FakeHub
) -> None:
    hub.gated.add(GEMMA)
    assert main(["download", "--mode", "fast"]) == 1
    assert f"https://huggingface.co/{GEMMA}" in capsys.readouterr().err


# Generate, on the embedded checkpoint


def generate(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ltx2", "generate", "a red ball", *SMALL, *arguments]


@pytest.mark.slow
def test_generate_writes_the_clip_and_exactly_one_json_document(
    machine: Path,
) -> None:
    """And a second process, this one, writes the same bytes, asked in Python."""
    from ltx2.delivery.file import ToFile
    from ltx2.engine import Engine
    from ltx2.session import generate as made

    ran = subprocess.run(
        generate("--checkpoint", "tiny", "--json", "-o", "clip.mp4"),
        capture_output=True,
        check=False,
        timeout=300,
    )
    errors = ran.stderr.decode()
    assert ran.returncode == 0, errors
    result = json.loads(ran.stdout)
    content = (machine / "clip.mp4").read_bytes()
    assert result["sha256"] == hashlib.sha256(content).hexdigest()
    assert (result["width"], result["height"], result["num_frames"]) == (128, 128, 9)
    assert (result["seed"], result["checkpoint"]) == (7, "tiny")
    assert errors.count("note: tiny is a toy") == 1
    assert errors.count("checkpoint tiny") == 1
    assert "memory: " in errors
    assert re.search(r"^base +\d", errors, re.MULTILINE)  # a log gets one line a stage
    assert [path.name for path in machine.iterdir()] == ["clip.mp4"]
    asked = Request(prompt="a red ball", width=128, height=128, num_frames=9, seed=7)
    mine = made(asked, engine=Engine.load("tiny"), deliver=ToFile(machine / "again.mp4"))
    assert mine.encoded.sha256 == result["sha256"]
    assert (machine / "again.mp4").read_bytes() == content


def test_a_device_that_is_not_here_is_a_sentence_that_names_those_that_are(
    tiny: Path,
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["generate", "x", "--checkpoint", "tiny", *SMALL]
    assert main([*arguments, "--device", "cuda:99"]) == 1
    monkeypatch.setenv("LTX2_DEVICE", "cuda:99")
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(re.findall("^error: there is no device 'cuda:99' here; .*cpu", err, re.M)) == 2
    assert list(machine.iterdir()) == []


def test_ctrl_c_ends_between_two_steps_and_leaves_nothing(
    tiny: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "ltx2", "generate", "a red ball", "--duration", "10"),
            *("--checkpoint", "tiny", "-o", "clip.mp4"),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    seen = []
    for line in running.stderr:
        seen.append(line)
        if line.startswith("prompt "):  # this stage is done, the sampler runs
            running.send_signal(signal.SIGINT)
            break
    out, rest = running.communicate(timeout=120)
    assert running.returncode == 130, "".join(seen) + rest
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert out == ""
    assert list(machine.iterdir()) == []


def test_a_stop_ends_a_run_as_ctrl_c_does(
    tiny: Path,
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    steps = []

    def stopped(module: object, _inputs: object) -> None:
        if type(module).__name__ == "LTX2VideoTransformer3DModel":
            steps.append(module)
            os.kill(os.getpid(), signal.SIGTERM)

    hook = register_module_forward_pre_hook(stopped)
    try:
        assert main(generate("--checkpoint", "tiny", "-o", "clip.mp4")[3:]) == 130
    finally:
        hook.remove()
    assert len(steps) == 1
    out, said = capfd.readouterr()
    assert out == ""
    assert "\nstopping after this step;" in said
    assert said.splitlines()[-1] == "stopped: cancelled during base, step 1 of 8"
    assert list(machine.iterdir()) == []


def test_a_stop_before_the_run_leaves_nothing(machine: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from ltx2 import cli, weights\n"
        "def stopped_here(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "weights.resolve = stopped_here\n"
        "sys.exit(cli.main(['generate', 'x', '--checkpoint', 'tiny']))"
    )
    ran = run_python(code)
    assert (ran.returncode, ran.stdout) == (130, "")
    assert ran.stderr == "stopped\n"
    assert list(machine.iterdir()) == []


def test_a_clip_without_a_name_never_replaces_a_file(machine: Path) -> None:
    decided = plan(Request(prompt="a red ball", seed=7))
    first = new_name(decided)
    assert first.name == f"ltx2-{decided.id}.mp4"
    first.touch()
    second = new_name(decided)
    assert second.name == f"ltx2-{decided.id}-2.mp4"
    second.touch()
    assert new_name(decided).name == f"ltx2-{decided.id}-3.mp4"


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_two_stages(stream: io.StringIO) -> None:
    with ProgressBar(stream) as bar:
        progress = Progress(bar)
        progress.expect({"base": 3, "decode": 1})
        with progress.stage("base", 3):
            for _ in range(3):
                progress.step()
        with progress.stage("decode"):
            progress.step()


def test_a_log_gets_one_line_a_stage() -> None:
    stream = io.StringIO()
    run_two_stages(stream)
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["base", "decode"]
    assert lines[0].endswith("3 steps")
    assert "\r" not in stream.getvalue()


def test_each_stage_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="ltx2.progress"):
        run_two_stages(io.StringIO())
    assert [re.sub(r"[\d.]+s$", "S", text) for text in caplog.messages] == [
        "base took S",
        "decode took S",
    ]


def test_loading_does_not_count_in_the_time_left() -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect({"base": 1})
    with progress.stage("load"):
        time.sleep(0.5)
        progress.step()
    with progress.stage("base", 2):
        progress.step()
    assert progress.timings["load"] >= 0.5
    assert events[-1].percent == 50
    assert events[-1].eta is not None
    assert events[-1].eta < 0.25


def test_a_terminal_sees_one_line_redrawn_with_steps_and_time_left() -> None:
    stream = Terminal()
    run_two_stages(stream)
    text = stream.getvalue()
    assert text.count("\n") == 2
    assert "3/3" in text
    assert "left" in text


def test_a_run_that_fails_leaves_the_cursor_on_its_own_line() -> None:
    stream = Terminal()
    with contextlib.suppress(RuntimeError), ProgressBar(stream) as bar:
        bar(Event(stage="base", step=1, steps=4, percent=10.0, eta=None, seconds=0.5))
        raise RuntimeError
    assert "1/4" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2 s"), (65, "1:05 min"), (59.99, "1:00 min"), (3605, "1:00:05 h")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_unknown_options_are_refused_together_with_everything_else(
    capsys: pytest.CaptureFixture[str],
):
    for command in ("generate", "plan"):
        assert main([command, "a", "--fps", "23", "--bogus", "3", "--sed=4"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith("error: --bogus is no option") for line in lines)
        assert "error: --sed is no option here; did you mean --seed?" in lines
        assert any("fps must be one of" in line for line in lines)
    assert main(["models", "--bogus"]) == 2
    assert "--bogus is no option" in capsys.readouterr().err


def test_an_unquoted_prompt_is_explained(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "a", "red", "ball"]) == 2
    assert "a prompt of several words needs quotes" in capsys.readouterr().err


def test_a_lost_picture_is_named_beside_faults_of_the_request(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "a", "--duration", "30", "--image", "nope.jpg"]) == 2
    said = capsys.readouterr().err
    assert "error: duration must be" in said
    assert "error: image names a file that does not exist: nope.jpg" in said


@pytest.mark.parametrize("suffix", ["@abc", "@1@foo"])
def test_what_follows_a_lora_file_is_named_where_it_is_wrong(
    suffix: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["plan", "a", "--lora", f"mine.safetensors{suffix}"]) == 2
    assert f"{suffix[1:]!r} after the file is neither" in capsys.readouterr().err
