"""Triton's kernels without a GPU: interpreted by the CPU, and compiled for the GPUs they serve."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux alone")

ROOT = Path(__file__).resolve().parents[2]
BFLOAT16, FLOAT32, INTEGERS, FP8 = "*bf16", "*fp32", "*i32", "*fp8e4nv"
WIDTH, HEADS = 4096, 32
# By kernel: its tensors' types in order, its numbers, and its constants at full size.
KERNELS = {
    "modulate": (
        [BFLOAT16] * 7 + [INTEGERS],
        {"tokens": "i32", "batch_stride": "i32", "level_stride": "i32", "eps": "fp32"},
        {"WIDTH": WIDTH, "BLOCK": WIDTH, "BY_LEVEL": True, "TWICE": True},
    ),
    "gate": (
        [BFLOAT16] * 4 + [INTEGERS],
        {"tokens": "i32", "batch_stride": "i32", "level_stride": "i32"},
        {"WIDTH": WIDTH, "BLOCK": WIDTH, "BY_LEVEL": True},
    ),
    "rotate": (
        [BFLOAT16] * 2 + [FLOAT32] * 2 + [BFLOAT16],
        {"tokens": "i32", "batch_stride": "i32", "head_stride": "i32", "token_stride": "i32",
         "eps": "fp32"},
        {"HALF": WIDTH // HEADS // 2, "PAIRS": WIDTH // 2, "BLOCK": WIDTH // 2},
    ),
    "gate_heads": (
        [BFLOAT16] * 3,
        {"tokens": "i32", "heads": "i32", "batch_stride": "i32", "token_stride": "i32",
         "head_stride": "i32"},
        {"HEAD": WIDTH // HEADS, "WIDTH": WIDTH, "BLOCK": WIDTH},
    ),
    "quantise_rows": (
        [BFLOAT16, FP8, FLOAT32],
        {},
        {"LARGEST": 448.0, "SMALLEST": 1e-12, "WIDTH": WIDTH, "BLOCK": WIDTH},
    ),
}  # fmt: skip
FROM = {"quantise_rows": 89}  # others from 80 on
CAPABILITIES = (80, 89, 90, 100)


def test_they_give_what_torch_gives_when_triton_interprets_them():
    """In a process of its own: Triton asks the environment when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run(
        [*command, "tests/gpu/test_kernels.py"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert re.search(r"^\d+ passed in ", done.stdout, re.M), done.stdout + done.stderr


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The assembly of a kernel for a compute capability."""
    from triton import compile as compile_kernel
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pipelines.speed import kernels

    def assembly(name, capability):
        kernel = getattr(kernels, name)
        tensors, numbers, constants = KERNELS[name]
        types = iter(tensors)
        signature = {
            argument: "constexpr" if argument in constants else numbers.get(argument) or next(types)
            for argument in kernel.arg_names
        }
        assert next(types, None) is None
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        return compile_kernel(source, target=GPUTarget("cuda", capability, 32)).asm

    with knobs.cache.scope():
        knobs.cache.dir = str(tmp_path_factory.mktemp("kernels"))
        yield assembly


def test_every_kernel_is_here():
    from triton.runtime import KernelInterface

    from pipelines.speed import kernels

    found = {name for name, each in vars(kernels).items() if isinstance(each, KernelInterface)}
    assert found == KERNELS.keys()


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", KERNELS)
def test_it_compiles_at_full_size(compiled, name, capability):
    if capability < FROM.get(name, 80):
        with pytest.raises(Exception, match="fp8e4nv"):
            compiled(name, capability)
        return
    made = compiled(name, capability)
    assert made["cubin"]


@pytest.mark.parametrize("capability", [90, 100])
def test_fp8_is_rounded_to_the_nearest_and_divided_exactly(compiled, capability):
    """As torch does both: what makes the kernel's bits the plain ones."""
    ptx = compiled("quantise_rows", capability)["ptx"]
    assert "cvt.rn.satfinite.e4m3x2.f32" in ptx
    assert ptx.count("div.rn.f32") == 2
