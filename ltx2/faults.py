"""What a failure of torch says of the device: that memory ran out, or that nothing works any more.

CUDA reports a fault wherever the process next waits for the GPU, and most faults leave a context in
which every later call fails as well. Only a new process gets out of that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ltx2.errors import DeviceLost, OutOfMemory

# Numbers of CUDA's runtime errors after which it asks for a new process.
LOST_CODES = frozenset(
    {
        46,  # devices unavailable
        214,  # an ECC error that could not be corrected
        220,  # the same on NVLink
        700,  # illegal address
        702,  # launch timeout
        709,  # context destroyed
        710,  # device-side assert
        714,  # hardware stack error
        715,  # illegal instruction
        716,  # misaligned address
        717,  # invalid address space
        718,  # invalid program counter
        719,  # launch failure
    }
)
# The same in words, for errors that carry no number.
LOST_WORDS = (
    "device-side assert",
    "illegal memory access",
    "illegal address",
    "misaligned address",
    "unspecified launch failure",
    "uncorrectable ECC",
    "uncorrectable NVLink",
    "illegal instruction",
    "hardware stack error",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "launch timed out",
    "context is destroyed",
    "devices are unavailable",
)
MEMORY_CODE = 2
MEMORY_WORDS = (
    "CUDA error: out of memory",  # of page-locked host memory, too
    "can't allocate memory",  # of the host's allocator
    "not enough memory: you tried to allocate",
    # The libraries make their workspaces when they are first used.
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
)
# Faults of the device that may or may not have broken its context.
DOUBTFUL = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "NVRTC", "cuFFT error")


@contextmanager
def faults(full: str, *, decoding: bool = False) -> Iterator[None]:
    """Faults of the device as errors of this project: OutOfMemory with the message `full`, or
    DeviceLost.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            raise OutOfMemory(full, decoding=decoding) from error
        if device_lost(error):
            raise lost(error) from error
        raise


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the device or of its host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError) or _lost_for_sure(error):
        return False
    return _code(error) == MEMORY_CODE or any(words in str(error) for words in MEMORY_WORDS)


def device_lost(error: BaseException, works: Callable[[], bool] | None = None) -> bool:
    """Whether this process can no longer use the device. `works` is asked where that is in doubt;
    by default the device itself is.
    """
    if not isinstance(error, RuntimeError) or out_of_memory(error):
        return False
    if _lost_for_sure(error):
        return True
    doubtful = isinstance(error, torch.AcceleratorError) or any(
        words in str(error) for words in DOUBTFUL
    )
    return doubtful and not (works or device_works)()


def device_works() -> bool:
    """Whether the GPU still does what it is told; True where none was ever used."""
    if not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
        return bool(torch.ones(1, device="cuda").add_(1).item() == 2)
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False


def lost(error: BaseException) -> DeviceLost:
    """The error that says so, with the first line of torch's own."""
    first = str(error).strip().partition("\n")[0]
    return DeviceLost(f"the GPU failed and cannot be used by this process any more: {first}")


def _lost_for_sure(error: RuntimeError) -> bool:
    text = str(error)
    return _code(error) in LOST_CODES or any(words in text for words in LOST_WORDS)


def _code(error: RuntimeError) -> int | None:
    """CUDA's number of an error, where torch tells it."""
    code = getattr(error, "error_code", None)
    return code if isinstance(code, int) else None
