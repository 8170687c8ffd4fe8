"""pipelines.memory.heap: pages that were touched once are used again."""

import subprocess
import sys
from pathlib import Path

import pytest

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
