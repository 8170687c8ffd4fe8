"""The levers as a device settles them, in words and as data."""

import torch

from pipelines.memory import heap
from pipelines.speed import attention, blocks, vae_layout
from pipelines.speed.levers import Levers


def said(levers: Levers, device: torch.device) -> dict[str, str | int]:
    """What is used on the device, by lever: "auto" is settled."""
    return {
        "attention": attention.settled(levers.attention, device),
        "blocks": blocks.settled(levers.blocks, device),
        "batched_tokens": levers.batched_tokens,
        "vae_layout": vae_layout.settled(levers.vae_layout, device),
        "freed_memory": heap.settled(levers.freed_memory, device),
        "fp8_products": levers.fp8_products,
    }


def said_of(levers: Levers, device: torch.device) -> str:
    """The same as a line."""
    return ", ".join(f"{name} {value}" for name, value in said(levers, device).items())


def checked(levers: Levers, device: torch.device) -> Levers:
    """The same levers. Raises ValueError for those that this device cannot have."""
    said(levers, device)
    if levers.fp8_products:
        from pipelines.speed import fp8

        fp8.check(device)
    return levers
