"""The levers as a device settles them, in words and as data."""

import logging

import torch

from pipelines.memory import heap
from pipelines.speed import attention, blocks, vae_layout
from pipelines.speed.levers import Levers

logger = logging.getLogger(__name__)


def said(levers: Levers, device: torch.device) -> dict[str, str | int]:
    """What is used on the device, by lever: "auto" is settled, and memory that was freed is told as
    this process has it.

    On a GPU also the order in which attention kernels are tried, which torch has a say in, and the
    version of cuDNN that it goes by.
    """
    return {
        "attention": attention.settled(levers.attention, device),
        **(_attention_on_gpu(levers, device) if device.type == "cuda" else {}),
        "blocks": blocks.settled(levers.blocks, device),
        "batched_tokens": levers.batched_tokens,
        "vae_layout": vae_layout.settled(levers.vae_layout, device),
        "freed_memory": heap.now(),
        "fp8_products": levers.fp8_products,
    }


def _attention_on_gpu(levers: Levers, device: torch.device) -> dict[str, str | int]:
    return {
        "attention_order": " ".join(attention.order(levers.attention, device)),
        "cudnn": torch.backends.cudnn.version() or 0,
    }


def said_of(levers: Levers, device: torch.device) -> str:
    """The same as a line."""
    return ", ".join(f"{name} {value}" for name, value in said(levers, device).items())


def checked(levers: Levers, device: torch.device, dtype: torch.dtype) -> Levers:
    """The same levers. Raises ValueError for those that this device cannot have in this type."""
    found = said(levers, device)
    if device.type == "cuda" and found["blocks"] == "plain" and blocks.compiler() is None:
        logger.warning("blocks are plain: Triton's kernels need a C compiler, gcc or clang")
    if levers.fp8_products:
        from pipelines.speed import fp8

        fp8.check(device, dtype)
    return levers
