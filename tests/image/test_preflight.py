"""The preflight: which machines a GPU worker can start on, and what the others are told."""

import subprocess
import sys

import pytest

from ltx2.worker.preflight import Driver, ask_driver, built_for, problem
from tests.rules.tree import ROOT

FINE = Driver(version=13000, devices=1)


@pytest.mark.parametrize("version", [13000, 13020, 14000])
def test_a_driver_of_the_builds_major_version_or_newer_will_do(version):
    assert problem(None, "13.0", Driver(version=version, devices=1)) is None
    # Minor versions of one major are compatible: a driver of 13.0 runs a build for 13.2.
    assert problem("cuda", "13.2", Driver(version=version, devices=1)) is None


def test_an_older_driver_is_told_which_version_the_endpoint_must_ask_for():
    found = problem(None, "13.0", Driver(version=12080, devices=1))
    assert found
    assert "12.8" in found
    assert "lowest CUDA version to 13.0" in found


def test_an_older_driver_is_told_first_whatever_else_it_says():
    # It refuses to start with an error that says nothing to anyone.
    assert "13.0" in (problem(None, "13.0", Driver(version=12040, devices=0, error=803)) or "")


@pytest.mark.parametrize(
    ("build", "driver", "device", "says"),
    [
        (None, FINE, None, "built without CUDA"),
        ("13.0", None, None, "--gpus all"),
        ("13.0", Driver(version=13000, devices=0, error=802), None, "CUDA error 802"),
        ("13.0", Driver(version=13000, devices=0), None, "none of the 0 GPUs"),
        ("13.0", FINE, "cuda:1", "cuda:1 is none of the 1 GPUs"),
    ],
)
def test_what_is_missing_is_said(build, driver, device, says):
    assert says in (problem(device, build, driver) or "")


@pytest.mark.parametrize("build", [None, "13.0"])
def test_a_worker_on_the_cpu_needs_no_gpu(build):
    assert problem("cpu", build, None) is None


@pytest.mark.parametrize("device", [None, "cuda", "cuda:1"])
def test_the_gpu_that_is_asked_for_must_be_there(device):
    assert problem(device, "13.0", Driver(version=13000, devices=2)) is None


def test_a_library_that_is_not_there_is_no_driver():
    assert ask_driver("libno-such-driver.so.1") is None


def test_the_build_is_the_one_that_torch_names():
    import torch

    assert built_for() == torch.version.cuda


def test_it_imports_no_torch_and_refuses_with_a_sentence():
    code = (
        "import sys; from ltx2.worker import preflight; preflight.main(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LTX2_DEVICE": "gpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
    assert done.stderr.startswith("this worker cannot start: LTX2_DEVICE must be")
    assert "Traceback" not in done.stderr
