"""ltx2.faults: what an exception of torch says of the device."""

import pytest
import torch

from ltx2.errors import DeviceLost, OutOfMemory
from ltx2.faults import device_lost, device_works, faults, lost, out_of_memory

ASSERT = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously "
    "reported at some other API call, so the stacktrace below might be incorrect."
)


def coded(code, text="CUDA error: something"):
    error = torch.AcceleratorError(text)
    error.error_code = code  # as torch itself sets it
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(ASSERT),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: misaligned address"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        coded(700),
        coded(710),
        coded(719),
    ],
    ids=str,
)
def test_after_these_the_process_cannot_go_on(error):
    assert device_lost(error, works=lambda: pytest.fail("nothing is in doubt"))
    assert not out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nCompile with"),
        coded(2),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError(),
    ],
    ids=str,
)
def test_these_are_a_lack_of_memory_and_nothing_worse(error):
    assert out_of_memory(error)
    assert not device_lost(error, works=lambda: False)


def test_of_other_errors_of_the_gpu_the_device_itself_decides():
    for error in (
        coded(98, "CUDA error: invalid device function"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    ):
        assert device_lost(error, works=lambda: False)
        assert not device_lost(error, works=lambda: True)
        assert not out_of_memory(error)


def test_errors_of_the_program_are_neither():
    for error in (RuntimeError("shapes do not match"), ValueError("CUDA error"), KeyError("x")):
        assert not device_lost(error, works=lambda: False)
        assert not out_of_memory(error)
    with pytest.raises(RuntimeError, match="shapes") as raised, faults("full"):
        raise RuntimeError("shapes do not match")
    assert type(raised.value) is RuntimeError


def test_a_device_that_was_never_used_works():
    assert device_works()


def test_they_become_errors_of_this_project():
    with pytest.raises(OutOfMemory, match=r"^full$") as full, faults("full", decoding=True):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert full.value.decoding
    with pytest.raises(DeviceLost, match=r"device-side assert triggered$"), faults("full"):
        raise torch.AcceleratorError(ASSERT)
    assert lost(RuntimeError("a\nb")).code == "INTERNAL"


def test_the_host_allocator_says_what_is_looked_for():
    """The words are torch's own: it is asked for more than any machine has."""
    with pytest.raises(OutOfMemory), faults("full"):
        torch.empty(2**62, dtype=torch.uint8)
