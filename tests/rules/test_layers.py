"""Imports follow `handler, gateway, benchmarks -> ltx2 -> pipelines -> loras`, never back.

Benchmarks may measure the gateway, too.
"""

import resource
import subprocess
import sys

import pytest

from tests.rules.tree import LAYERS, ROOT, imports, layer_files, module_name, short

ALLOWED = {
    "handler": {"ltx2"},
    "gateway": {"ltx2"},
    "benchmarks": {"ltx2", "gateway"},
    "ltx2": {"pipelines", "loras"},
    "pipelines": {"loras"},
    "loras": set(),
}
# What a client, a gateway or a `--help` needs, and what it imports in turn.
TORCH_FREE = [
    "ltx2",
    "ltx2.request",
    "ltx2.planner",
    "ltx2.describe",
    "ltx2.settings",
    "ltx2.errors",
    "ltx2.cli",
    "ltx2.client",
    "ltx2.deploy.command",
    "pipelines",
    "pipelines.plan",
    "pipelines.geometry",
    "pipelines.sigmas",
    "pipelines.models",
    "loras",
    "loras.catalog",
]
# Seconds and megabytes that a torch-free module must not cost anyone.
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "av", "runpod")
START_SECONDS = 0.5
TRIES = 5  # one of several is enough: a busy machine must not fail a correct tree


def test_every_layer_has_its_row():
    assert set(ALLOWED) == set(LAYERS)


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_follow_the_arrow(layer):
    for file in layer_files(layer):
        reached = {name.partition(".")[0] for name, _ in imports(file)}
        wrong = (reached & ALLOWED.keys()) - ALLOWED[layer] - {layer}
        assert not wrong, f"{short(file)} imports {sorted(wrong)}"


@pytest.mark.parametrize("layer", ALLOWED)
def test_no_layer_imports_the_tests_the_scripts_or_the_training(layer):
    for file in layer_files(layer):
        wrong = {
            name
            for name, _ in imports(file)
            if name.partition(".")[0] in ("tests", "scripts", "tiny")
        }
        assert not wrong, f"{short(file)} imports {sorted(wrong)}"


def test_the_layers_that_exist_today_are_found():
    assert {"ltx2", "pipelines", "loras"} <= {layer for layer in LAYERS if layer_files(layer)}


def gateway_modules():
    return [module_name(file) for file in layer_files("gateway")]


def test_the_contract_imports_without_anything_heavy():
    """All in one process, which forgets our own modules before each: whichever is imported first
    has to find the others, and a circle between two shows only from one of its ends.
    """
    code = f"""
import importlib, sys
for name in {[*TORCH_FREE, *gateway_modules()]!r}:
    for own in [each for each in sys.modules if each.partition(".")[0] in {LAYERS!r}]:
        del sys.modules[own]
    importlib.import_module(name)
    print(name, "loads", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    told = run(code).stdout.splitlines()
    assert len(told) == len(TORCH_FREE) + len(gateway_modules())
    assert [line for line in told if not line.endswith("loads")] == []


def test_importing_the_package_is_quick():
    code = "from time import perf_counter as now; t = now(); import ltx2; print(now() - t)"
    assert any(float(run(code).stdout) < START_SECONDS for _ in range(TRIES))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plan", "a red ball", "--checkpoint", "ltx-2.3"]]
)
def test_help_and_plan_are_quick_and_need_no_torch(arguments):
    """In processor seconds, which a busy machine stretches less than those on the clock."""
    code = f"""
import sys
from ltx2.cli import main
try:
    code = main({arguments!r})
except SystemExit as stop:
    code = stop.code
assert not code, code
print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout.splitlines()[-1] == "loaded:", done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(seconds() < START_SECONDS for _ in range(TRIES))


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
