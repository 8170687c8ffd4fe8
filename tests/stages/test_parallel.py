"""One clip by two processes on gloo: the same latents as by one, and the command that makes it."""

import json
import subprocess
import sys

import pytest

from ltx2.cli import main
from ltx2.delivery.file import ToFile
from ltx2.request import Request
from ltx2.session import generate
from tests.stages.launched import environment, launched
from tests.stages.together import CASES

# Of the latents' standard deviation, in float32: sums are made in another order.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def apart(tiny, tmp_path_factory):
    """How far the latents of two processes are from those of one."""
    target = tmp_path_factory.mktemp("together") / "apart.json"
    done = launched(2, "-m", "tests.stages.together", str(tiny), str(target))
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_latents_of_one(apart, case):
    assert apart[case]["video"] < TOLERANCE
    assert apart[case]["audio"] < TOLERANCE
    assert 0.5 <= apart[case]["share"] < 0.6  # it was shared


@pytest.mark.slow
def test_the_command_writes_one_clip_by_two_processes_with_a_drawn_seed(
    tmp_path, monkeypatch, engine
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTX2_CHECKPOINT", "tiny")
    size = ("--width", "128", "--height", "128", "--num-frames", "9")
    command = ("generate", "a red ball", *size, "--json", "-o", "out.mp4")
    done = launched(2, "-m", "ltx2", *command, "--parallel")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert done.stderr.count("checkpoint tiny") == 1
    asked = Request(prompt="a red ball", width=128, height=128, num_frames=9, seed=result["seed"])
    alone = generate(asked, engine=engine, deliver=ToFile(tmp_path / "alone.mp4"))
    assert result["plan_id"] == alone.plan.id
    assert result["num_frames"] == alone.encoded.num_frames == 9
    assert result["has_audio"]


def test_a_clip_by_one_process_alone_is_no_parallel_one(capsys):
    assert main(["generate", "a red ball", "--parallel", "--fps", "23"]) == 2
    told = capsys.readouterr().err
    assert "torchrun" in told
    assert "fps" in told


def test_products_in_fp8_are_refused_together_before_anything_loads(capsys, monkeypatch):
    monkeypatch.setenv("LTX2_FP8_PRODUCTS", "1")
    monkeypatch.setenv("LTX2_TRANSFORMER_QUANTISATION", "fp8")
    assert main(["generate", "a red ball", "--parallel", "--fps", "23"]) == 2
    told = capsys.readouterr().err
    assert "unset LTX2_FP8_PRODUCTS" in told
    assert "torchrun" in told


@pytest.mark.slow
def test_several_processes_of_one_clip_are_refused_unless_they_share_it(tmp_path):
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "ltx2", "generate", "a ball", "--checkpoint", "tiny"],
        env={**environment(), **ranks},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 2
    assert "add --parallel" in done.stderr
