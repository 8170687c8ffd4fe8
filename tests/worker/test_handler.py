"""How `handler.py` sets the SDK up, each time in a process of its own: the SDK is global there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ORDER = """
import asyncio
import runpod
from runpod.serverless.modules import rp_fitness
import handler

def check(name):
    def run():
        print(name)
    return run

for each in (check("ours"), handler.last_of_all(check("the model"))):
    runpod.serverless.register_fitness_check(each)
rp_fitness._registration_state.update(gpu_check=True, system_checks=True)
runpod.serverless.register_fitness_check(check("the SDK's own"))  # as it does when they begin
asyncio.run(rp_fitness.run_fitness_checks())
"""

LEVEL = """
from runpod.serverless.modules.rp_logger import RunPodLogger
import handler
handler.keep_results_out_of_the_log()
RunPodLogger().debug("Handler output: video")
RunPodLogger().warn("a warning")
"""


def printed(program, tmp_path, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_the_model_is_loaded_after_every_check_of_the_machine(tmp_path):
    lines = printed(ORDER, tmp_path, RUNPOD_LOG_LEVEL="ERROR").splitlines()
    assert lines == ["ours", "the SDK's own", "the model"]


def test_results_are_not_logged_by_the_sdk_whatever_started_the_worker(tmp_path):
    for environment in ({}, {"RUNPOD_LOG_LEVEL": "DEBUG"}):
        said = printed(LEVEL, tmp_path, **environment)
        assert "a warning" in said
        assert "video" not in said
    assert printed(LEVEL, tmp_path, RUNPOD_LOG_LEVEL="ERROR") == ""
