"""Whether a GPU worker can run on this machine at all: its driver, asked without importing torch.

`python -m ltx2.worker.preflight` says what is wrong and how to put it right, with exit status 1.
The worker's fitness checks look closer, with torch; this answers first, in a fraction of a second.
"""

import ctypes
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ltx2.errors import ConfigError
from ltx2.settings import Settings

DRIVER = "libcuda.so.1"  # comes with the driver: the container runtime puts it there
ON_CPU = "LTX2_DEVICE=cpu runs without a GPU, which is for tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What the NVIDIA driver says of itself."""

    version: int  # the newest CUDA it can run, 1000 * major + 10 * minor
    devices: int
    error: int = 0  # of cuInit; 0 is none

    @property
    def cuda(self) -> str:
        """The newest CUDA it can run, as people write it."""
        return f"{self.version // 1000}.{self.version % 1000 // 10}"


def built_for() -> str | None:
    """The CUDA that the installed torch was built for, such as `13.0`; None for a CPU build."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None


def ask_driver(library: str = DRIVER) -> Driver | None:
    """The driver of this machine; None where there is none."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None
    version, devices = ctypes.c_int(), ctypes.c_int()
    error = int(cuda.cuInit(0))
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if not error:
        error = int(cuda.cuDeviceGetCount(ctypes.byref(devices)))
    return Driver(version=version.value, devices=devices.value, error=error)


def problem(device: str | None, build: str | None, driver: Driver | None) -> str | None:
    """Why a worker cannot run on this device, and what to do; None where it can.

    `device` as in LTX2_DEVICE; None means the GPU, which is what a worker's image is for.
    """
    if device == "cpu":
        return None
    if build is None:
        return f"this torch is built without CUDA; use the project's image, or {ON_CPU}"
    if driver is None:
        return (
            f"no NVIDIA driver in this container ({DRIVER} is missing); start it with a GPU: "
            f"`docker run --gpus all`, on RunPod a GPU endpoint. {ON_CPU}"
        )
    # A driver runs every CUDA of its own major version, and all older ones.
    if driver.version // 1000 < int(build.split(".")[0]):
        return (
            f"the driver of this machine runs CUDA up to {driver.cuda}, and this torch needs "
            f"{build}; on RunPod, set the endpoint's lowest CUDA version to {build}"
        )
    if driver.error:
        return (
            f"the NVIDIA driver does not start (CUDA error {driver.error}); "
            "another machine is needed: on RunPod, terminate this worker"
        )
    wanted = int((device or "cuda:0").partition(":")[2] or 0) + 1
    if driver.devices < wanted:
        return f"{device or 'cuda'} is none of the {driver.devices} GPUs in this container"
    return None


def main() -> int:
    """Exit status: 0 where a worker can run, 1 with a sentence on stderr where it cannot."""
    try:
        found = problem(Settings.from_env().device, built_for(), ask_driver())
    except ConfigError as error:
        found = str(error)
    if found:
        sys.stderr.write(f"this worker cannot start: {found}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
