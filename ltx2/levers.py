"""The settings' levers of speed on a device, and what they ask of the process."""

import torch

from ltx2.errors import ConfigError
from ltx2.settings import Settings
from pipelines.memory import heap
from pipelines.speed.choice import checked
from pipelines.speed.levers import Levers


def levers_for(settings: Settings, device: torch.device, dtype: torch.dtype) -> Levers:
    """How an engine of that type computes on the device, with what that takes of the process done.

    Raises ConfigError for a lever that the device or this machine cannot have.
    """
    if settings.fp8_products and settings.transformer_quantisation != "fp8":
        raise ConfigError("LTX2_FP8_PRODUCTS needs LTX2_TRANSFORMER_QUANTISATION=fp8")
    if settings.fp8_products and settings.blocks == "stock":
        # diffusers' blocks would have each layer round the input that it shares with others.
        raise ConfigError(
            "LTX2_FP8_PRODUCTS needs the fast blocks: leave LTX2_BLOCKS at auto, or set it to"
            " plain, triton or compiled"
        )
    try:
        levers = checked(settings.levers(), device, dtype)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if device.type == "cuda":
        settings.keep_kernels()
    if settings.freed_memory == "kept" and not heap.keep_freed_memory():
        raise ConfigError("LTX2_FREED_MEMORY=kept: this machine's C library does not do that")
    return levers
