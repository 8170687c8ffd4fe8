"""start.sh: what it starts, and with which environment, read from the process that it becomes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ltx2.cli import build_parser
from ltx2.deploy.endpoint import CUDA
from tests.rules.tree import ROOT

START = ROOT / "start.sh"
# In the place of `python` and `ltx2`: writes down how it was started, and then waits if it is to.
STAND_IN = """#!{python}
import json, os, pathlib, signal, sys, time
if sys.argv[1:] == ["-m", "ltx2.worker.preflight"]:
    sys.exit(int(os.environ.get("PREFLIGHT", "0")))
record = pathlib.Path(os.environ["RECORD"])
def stopped(number, frame):
    record.with_name("signal").write_text(str(number))
    sys.exit(0)
signal.signal(signal.SIGTERM, stopped)
draft = record.with_name("draft")
draft.write_text(json.dumps({{"argv": sys.argv, "pid": os.getpid(), "env": dict(os.environ)}}))
draft.replace(record)
if "WAIT" in os.environ:
    time.sleep(60)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A folder as /app is in the image, with stand-ins first on the path."""

    folder: Path

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    def open(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """start.sh under way, in an environment of these variables alone."""
        env = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "RECORD": str(self.record),
            "LTX2_VOLUME_WEIGHTS": str(self.folder / "volume/models"),
            **variables,
        }
        return subprocess.Popen(
            [self.folder / "start.sh", *arguments], env=env, stderr=subprocess.PIPE, text=True
        )

    def started(self, *arguments: str, **variables: str) -> dict:
        """How the process was started that start.sh became."""
        process = self.open(*arguments, **variables)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        found = json.loads(self.record.read_text())
        assert found["pid"] == process.pid
        return found


@pytest.fixture
def image(tmp_path):
    folder = tmp_path / "app"
    (folder / "bin").mkdir(parents=True)
    start = folder / "start.sh"
    start.write_text(START.read_text())
    start.chmod(0o755)
    for name in ("python", "ltx2"):
        stand_in = folder / "bin" / name
        stand_in.write_text(STAND_IN.format(python=sys.executable))
        stand_in.chmod(0o755)
    return Image(folder=folder)


def test_without_arguments_it_is_the_worker(image):
    found = image.started()
    assert found["argv"] == [str(image.folder / "bin/python"), str(image.folder / "handler.py")]


@pytest.mark.parametrize("words", [["generate", "a b", "-o", "x.mp4"], ["ltx2", "doctor"]])
def test_with_arguments_it_is_the_command(image, words):
    found = image.started(*words)
    assert found["argv"][0] == str(image.folder / "bin/ltx2")
    assert found["argv"][1:] == [word for word in words if word != "ltx2"]


def test_the_local_job_api_is_started_as_the_command_takes_it(image):
    argv = image.started(SERVE_API_LOCALLY="true", SERVE_API_PORT="9000")["argv"]
    assert argv[1:] == ["serve", "--host", "0.0.0.0", "--port", "9000"]
    assert build_parser().parse_args(argv[1:]).host == "0.0.0.0"


def test_the_environment_of_the_worker_is_set(image):
    env = image.started()["env"]
    assert env["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert env["TORCH_DISABLE_NATIVE_JIT"] == "1"
    assert env["HF_HOME"] == "/models/huggingface"
    assert env["RUNPOD_LOG_LEVEL"] == "INFO"
    assert env["RUNPOD_MIN_CUDA_VERSION"] == CUDA
    assert int(env["RUNPOD_GPU_BENCHMARK_TIMEOUT"]) > 2


def test_nothing_is_preloaded_that_the_image_does_not_have(image):
    assert "LD_PRELOAD" not in image.started()["env"]


SET = {
    "PYTORCH_ALLOC_CONF": "max_split_size_mb:256",
    "TORCH_DISABLE_NATIVE_JIT": "0",
    "HF_HOME": "/elsewhere",
    "LTX2_CACHE": "/elsewhere/cache",
    "RUNPOD_LOG_LEVEL": "WARN",
    "RUNPOD_MIN_CUDA_VERSION": "13.2",
    "RUNPOD_GPU_BENCHMARK_TIMEOUT": "3",
}


def test_what_an_operator_sets_is_left_alone(image):
    env = image.started(**SET)["env"]
    assert {name: env[name] for name in SET} == SET


def test_what_is_empty_counts_as_not_set(image):
    env = image.started(**dict.fromkeys(SET, ""))["env"]
    plain = image.started()["env"]
    assert {name: env[name] for name in SET} == {name: plain[name] for name in SET}


def test_the_older_name_of_the_allocators_settings_is_enough(image):
    # Two that say different things are nobody's wish.
    env = image.started(PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync")["env"]
    assert "PYTORCH_ALLOC_CONF" not in env


def test_without_a_volume_the_cache_is_in_the_container(image):
    assert image.started()["env"]["LTX2_CACHE"] == "/models/cache"


def test_a_volume_holds_what_workers_share(image):
    (image.folder / "volume").mkdir()
    cache = image.started()["env"]["LTX2_CACHE"]
    assert cache == str(image.folder / "volume/ltx2")
    assert Path(cache).is_dir()


def test_a_volume_that_cannot_be_written_to_is_not_used(image):
    (image.folder / "volume").mkdir()
    (image.folder / "volume/ltx2").write_text("in the way of a folder")
    assert image.started()["env"]["LTX2_CACHE"] == "/models/cache"


def test_a_worker_that_cannot_run_is_not_started(image):
    process = image.open(PREFLIGHT="1")
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert not image.record.exists()


def test_a_command_is_not_kept_from_a_machine_without_a_gpu(image):
    assert image.started("doctor", PREFLIGHT="1")["argv"][1:] == ["doctor"]


@pytest.mark.parametrize("words", [[], ["generate", "a cat"]])
def test_the_signal_that_ends_a_container_reaches_python(image, words):
    process = image.open(*words, WAIT="1")
    for _ in range(300):
        if image.record.exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert image.record.with_name("signal").read_text() == str(int(signal.SIGTERM))


READ = """
import json, torch
from torch._native.common_utils import check_native_jit_disabled
from runpod.serverless.modules import rp_system_fitness
print(json.dumps({
    "allocator": torch._C._accelerator_getAllocatorSettings(),
    "compiles": not check_native_jit_disabled(),
    "cuda": rp_system_fitness.MIN_CUDA_VERSION,
    "benchmark": rp_system_fitness.GPU_BENCHMARK_TIMEOUT,
}))
"""


@pytest.mark.slow
def test_torch_and_the_sdk_read_what_is_set(image):
    env = {**image.started()["env"], "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "allocator": "expandable_segments:True",
        "compiles": False,
        "cuda": CUDA,
        "benchmark": int(env["RUNPOD_GPU_BENCHMARK_TIMEOUT"]),
    }


def test_each_variable_that_it_sets_is_explained_where_settings_are():
    set_here = set(re.findall(r"^\s*export (\w+)", START.read_text(), re.M))
    page = (ROOT / "docs/configuration.md").read_text()
    assert set_here
    assert {name for name in set_here if f"`{name}`" not in page} == set()
