"""Imports follow `handler, gateway, benchmarks -> ltx2 -> pipelines -> loras`, never back."""

import subprocess
import sys
import time

import pytest

from tests.rules.tree import LAYERS, ROOT, imports, layer_files, module_name, short

ALLOWED = {
    "handler": {"ltx2"},
    "gateway": {"ltx2"},
    "benchmarks": {"ltx2"},
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
IMPORT_SECONDS = 0.5
TRIES = 5  # the best of several: a busy machine must not fail a correct tree


def test_every_layer_has_its_row():
    assert set(ALLOWED) == set(LAYERS)


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_follow_the_arrow(layer):
    for file in layer_files(layer):
        reached = {name.partition(".")[0] for name, _ in imports(file)}
        wrong = (reached & ALLOWED.keys()) - ALLOWED[layer] - {layer}
        assert not wrong, f"{short(file)} imports {sorted(wrong)}"


@pytest.mark.parametrize("layer", ALLOWED)
def test_no_layer_imports_the_tests_or_the_scripts(layer):
    for file in layer_files(layer):
        wrong = {name for name, _ in imports(file) if name.startswith(("tests.", "scripts."))}
        assert not wrong, f"{short(file)} imports {sorted(wrong)}"


def test_the_layers_that_exist_today_are_found():
    assert {"ltx2", "pipelines", "loras"} <= {layer for layer in LAYERS if layer_files(layer)}


def gateway_modules():
    return [module_name(file) for file in layer_files("gateway")]


@pytest.mark.parametrize("module", [*TORCH_FREE, *gateway_modules()])
def test_the_contract_imports_without_anything_heavy(module):
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = run(code).stdout.split()
    assert loaded == [], f"import {module} loads {loaded}"


def test_importing_the_package_is_quick():
    code = "from time import perf_counter as now; t = now(); import ltx2; print(now() - t)"
    seconds = min(float(run(code).stdout) for _ in range(TRIES))
    assert seconds < IMPORT_SECONDS


def test_help_is_quick_and_needs_no_torch():
    code = f"""
import sys
from ltx2.cli import main
sys.argv = ["ltx2", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        done = run(code)
        seconds.append(time.perf_counter() - start)
        assert "usage" in done.stdout.lower(), done.stdout
        assert done.stdout.splitlines()[-1] == "loaded:", done.stdout
    # An interpreter's own start is not ours to answer for.
    start = time.perf_counter()
    run("pass")
    assert min(seconds) - (time.perf_counter() - start) < IMPORT_SECONDS


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
