"""pipelines.memory.heap: pages that were touched once are used again."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltx2.errors import ConfigError
from ltx2.levers import levers_for
from ltx2.settings import Settings

ROOT = Path(__file__).parents[2]
COUNT = """
import resource
import torch
from pipelines.memory.heap import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    torch.ones(12, 2**20).mul(2).sum()  # pieces of 48 MiB: above what glibc would learn to keep
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    first = faults()
for _ in range(10):
    last = faults()
print(last - first)
"""


def faults_of(keep):
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(keep=keep)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_is_used_again_without_a_page_fault():
    assert faults_of(keep=True) < 20
    assert faults_of(keep=False) > 2000


ENGINE = """
from ltx2.engine import Engine
from ltx2.settings import Settings
for freed in ("returned", "auto"):
    engine = Engine.load("tiny", device="cpu", settings=Settings(freed_memory=freed))
    assert engine.levers["freed_memory"] == "returned"
    assert engine.own_process() == (freed == "auto")
assert engine.levers["freed_memory"] == "kept"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_a_program_that_uses_the_engine_is_left_alone_until_it_says_otherwise():
    done = subprocess.run([sys.executable, "-c", ENGINE], cwd=ROOT)
    assert done.returncode == 0


def test_what_could_not_be_kept_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "elsewhere")
    with pytest.raises(ConfigError, match="LTX2_FREED_MEMORY=kept"):
        levers_for(Settings(freed_memory="kept"), torch.device("cpu"), torch.float32)
