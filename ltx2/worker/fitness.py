"""Whether this machine can be a worker: functions that raise RuntimeError with the reason.

They run before the model is loaded; the first that fails ends the process, and RunPod shows its
first 256 characters.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ltx2.delivery.s3 import S3Config, S3Store
from ltx2.delivery.store import StoreMisconfigured
from ltx2.errors import DeliveryFailed, Ltx2Error
from ltx2.media.encode import check_ffmpeg
from ltx2.settings import Settings
from ltx2.weights import cuda
from ltx2.worker.settings import WorkerSettings
from ltx2.worker.start import find_weights

logger = logging.getLogger(__name__)
LEAST_FREE = 2**30  # bytes of scratch: the largest clip that is taken has a tenth of that
Check = Callable[[], None]


def checks(settings: Settings, worker: WorkerSettings) -> list[Check]:
    """The checks of a worker, in the order they should run: what is quick and likely first."""
    return [
        _named("gpu_is_usable", partial(gpu_is_usable, settings)),
        _named("encoder_is_there", encoder_is_there),
        _named("folders_can_be_written", partial(folders_can_be_written, settings, worker)),
        _named("store_is_configured", partial(store_is_configured, worker)),
        _named("weights_can_be_had", partial(weights_can_be_had, settings, worker)),
    ]


def _named(name: str, check: Check) -> Check:
    """The SDK tells the platform the name of the function that failed."""

    def run() -> None:
        check()

    run.__name__ = name
    return run


def gpu_is_usable(settings: Settings) -> None:
    """Refuse a machine whose GPU is wanted and that torch cannot use."""
    if settings.device == "cpu":
        return
    found = cuda(confirm=True)
    if not found.usable:
        if settings.device is None and found.reason == "this machine has no CUDA GPU":
            return  # nothing says that there should be one
        raise RuntimeError(f"{found.reason}; choose another GPU, or LTX2_DEVICE=cpu for tests")
    import torch

    device, count = torch.device(settings.device or "cuda"), torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise RuntimeError(f"there is no LTX2_DEVICE {device} here; it has {count} GPU")
    capability = torch.cuda.get_device_capability(device)
    if not runs_on(capability, torch.cuda.get_arch_list()):
        raise RuntimeError(
            f"this torch has no code for {torch.cuda.get_device_name(device)} (compute capability "
            f"{capability[0]}.{capability[1]}); it was built for "
            f"{', '.join(torch.cuda.get_arch_list())}"
        )


def runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether code for one of `architectures`, as `sm_90` or `compute_90`, runs on a device.

    Machine code runs on the same major version from its own minor on, intermediate code on anything
    newer (CUDA C++ Programming Guide, binary and PTX compatibility).
    """
    major, minor = capability
    for each in architectures:
        kind, _, number = each.rpartition("_")
        digits = number.rstrip("af")  # sm_90a and sm_100f are for their own family alone
        built = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return True
        if kind == "compute" and built <= (major, minor):
            return True
    return False


def encoder_is_there() -> None:
    """Refuse a machine that could make frames and no file of them."""
    try:
        check_ffmpeg()
    except Ltx2Error as error:
        raise RuntimeError(str(error)) from error


def folders_can_be_written(settings: Settings, worker: WorkerSettings) -> None:
    """Refuse a machine without room for a clip."""
    folders = {
        "LTX2_SCRATCH": worker.scratch or Path(tempfile.gettempdir()),
        "LTX2_CACHE": settings.cache,
    }
    if worker.keep_bytes:
        folders["LTX2_KEEP_FOLDER"] = worker.kept_in(settings)
    problems: list[str] = []
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"ltx2")
            free = shutil.disk_usage(folder).free
        except OSError as error:
            problems.append(f"{name} {folder} cannot be written to: {error.strerror or error}")
            continue
        if free < LEAST_FREE:
            problems.append(f"{name} {folder} has {free:,} bytes free; {LEAST_FREE:,} are needed")
    if problems:
        raise RuntimeError("; ".join(problems))


def store_is_configured(worker: WorkerSettings) -> None:
    """Refuse a store that would refuse every clip. One that is out of reach may come back."""
    try:
        config = S3Config.from_settings(worker)
        if config is not None:
            S3Store(config).check()
    except StoreMisconfigured as error:
        raise RuntimeError(str(error)) from error
    except DeliveryFailed as error:
        logger.warning("the store does not answer yet: %s", error)
    except Ltx2Error as error:
        raise RuntimeError(str(error)) from error


def weights_can_be_had(settings: Settings, worker: WorkerSettings) -> None:
    """Refuse a machine without the weights of its modes that is not to fetch them, or cannot."""
    try:
        found = find_weights(settings, worker)
    except Ltx2Error as error:
        raise RuntimeError(str(error)) from error
    if found is None and settings.hf_offline:
        raise RuntimeError("weights are missing and HF_HUB_OFFLINE is set: nothing can be fetched")
