"""Triton's kernels without a GPU: interpreted by the CPU, and compiled for the GPUs they serve."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux alone")

ROOT = Path(__file__).resolve().parents[2]
BFLOAT16, FLOAT32, INTEGERS, FP8 = "*bf16", "*fp32", "*i32", "*fp8e4nv"
WIDTH, HEADS, HIDDEN = 4096, 32, 16_384
ROUNDS = {"LARGEST": 448.0, "SMALLEST": 1e-12}
PUT = {"EXACT": True, "ROUNDED": True, **ROUNDS}
PLACES = [BFLOAT16, FP8, FLOAT32]  # of a result, in fp8, and its scales
STRIDES = {"tokens": "i32", "batch_stride": "i32"}
# By kernel: its tensors' types in order, its numbers, and its constants at full size.
KERNELS = {
    "modulate": (
        [*[BFLOAT16] * 5, *PLACES, *PLACES, INTEGERS],
        {**STRIDES, "level_stride": "i32", "eps": "fp32"},
        {"WIDTH": WIDTH, "BLOCK": WIDTH, "BY_LEVEL": True, "TWICE": True, **PUT,
         "OTHER_EXACT": True, "OTHER_ROUNDED": True},
    ),
    "gate": (
        [*[BFLOAT16] * 4, INTEGERS],
        {**STRIDES, "level_stride": "i32"},
        {"WIDTH": WIDTH, "BLOCK": WIDTH, "BY_LEVEL": True},
    ),
    "rotate": (
        [*[BFLOAT16] * 2, *[FLOAT32] * 2, BFLOAT16],
        {**STRIDES, "head_stride": "i32", "token_stride": "i32", "eps": "fp32"},
        {"HALF": WIDTH // HEADS // 2, "PAIRS": WIDTH // 2, "BLOCK": WIDTH // 2},
    ),
    "gate_heads": (
        [*[BFLOAT16] * 2, *PLACES],
        {**STRIDES, "heads": "i32", "token_stride": "i32", "head_stride": "i32"},
        {"HEAD": WIDTH // HEADS, "WIDTH": WIDTH, "BLOCK": WIDTH, **PUT},
    ),
    "activate": ([BFLOAT16, *PLACES], {}, {"WIDTH": HIDDEN, "BLOCK": HIDDEN, **PUT}),
    "quantise_rows": (
        [BFLOAT16, FP8, FLOAT32], {}, {"WIDTH": WIDTH, "BLOCK": WIDTH, **ROUNDS},
    ),
}  # fmt: skip
ROUNDING = [name for name, (tensors, *_) in KERNELS.items() if FP8 in tensors]
CAPABILITIES = (80, 89, 90, 100)
FP8_FROM = 89


def serves(name, capability):
    """No product is in fp8 before 8.9, which is like 8.0 otherwise."""
    if capability == FP8_FROM:
        return name in ROUNDING
    return capability > FP8_FROM or name != "quantise_rows"


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
    """A kernel made for a compute capability, with or without its results in fp8."""
    from triton import compile as compile_kernel
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pipelines.speed import kernels
    from pipelines.speed.triton_elementwise import WARPS_OF_HIDDEN

    def assembly(name, capability, *, rounds, warps=None):
        kernel = getattr(kernels, name)
        tensors, numbers, constants = KERNELS[name]
        if not rounds:
            tensors = [BFLOAT16 if each == FP8 else each for each in tensors]
            constants = {key: "ROUNDED" not in key and value for key, value in constants.items()}
        types = iter(tensors)
        signature = {
            argument: "constexpr" if argument in constants else numbers.get(argument) or next(types)
            for argument in kernel.arg_names
        }
        assert next(types, None) is None
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        usual = WARPS_OF_HIDDEN if name == "activate" else 4  # Triton's own
        target = GPUTarget("cuda", capability, 32)
        return compile_kernel(source, target=target, options={"num_warps": warps or usual})

    with knobs.cache.scope():
        knobs.cache.dir = str(tmp_path_factory.mktemp("kernels"))
        yield assembly


def test_every_kernel_is_here():
    from triton.runtime import KernelInterface

    from pipelines.speed import kernels

    found = {name for name, each in vars(kernels).items() if isinstance(each, KernelInterface)}
    assert found - {"put"} == KERNELS.keys()  # which others call


@pytest.mark.parametrize(
    ("name", "capability"),
    [pair for pair in product(KERNELS, CAPABILITIES) if serves(*pair)],
)
def test_it_compiles_at_full_size_and_spills_nothing(compiled, tmp_path, name, capability):
    rounds = capability >= FP8_FROM and name in ROUNDING
    made = compiled(name, capability, rounds=rounds)
    assert not spilled(made, tmp_path)


def test_a_row_too_wide_for_one_warp_is_seen_to_spill(compiled, tmp_path):
    assert spilled(compiled("modulate", 90, rounds=True, warps=1), tmp_path)


def spilled(made, folder):
    """Bytes of memory in which a thread keeps what its registers do not hold."""
    from triton import knobs

    file = folder / "kernel.cubin"
    file.write_bytes(made.asm["cubin"])
    command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(int(re.search(rf"{place}:(\d+)", told)[1]) for place in ("STACK", "LOCAL"))


@pytest.mark.parametrize("capability", [90, 100])
@pytest.mark.parametrize("name", ROUNDING)
def test_fp8_is_rounded_to_the_nearest_and_divided_exactly(compiled, name, capability):
    """As torch does both: what makes a kernel's bits the plain ones."""
    ptx = compiled(name, capability, rounds=True).asm["ptx"]
    places = 2 if name == "modulate" else 1
    assert "cvt.rn.satfinite.e4m3x2.f32" in ptx
    assert ptx.count("div.rn.f32") == 2 * places
