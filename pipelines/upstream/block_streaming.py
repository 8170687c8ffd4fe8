"""The blocks of a large part come to the device one after the other, the next one while one runs.

What differs: diffusers' group offload finds only blocks that lie directly under the module it is
given (Gemma's lie three levels down, and their embedding is called from outside of that module),
and with streams it learns their order from a first forward pass whose transfers all block; that
pass comes back with every new set of hooks. It also moves weights in the mode of the pass, which
rounded ones do not survive (see inference_tensors.py).
Cure: it is given a bare module with the blocks alone, and told their order, that of the list; its
groups move their weights in the usual mode.
End: when `test_stock_group_offload_still_misses_nested_blocks` fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from diffusers.hooks import HookRegistry, apply_group_offloading
from diffusers.hooks.group_offloading import GroupOffloadingHook, ModuleGroup
from torch import nn

from pipelines.upstream.inference_tensors import plain_mode

HOOK = "group_offloading"  # the name under which diffusers registers its hook


def block_list(part: nn.Module) -> nn.ModuleList:
    """The list of blocks that holds most of a module's weights. Raises ValueError without any."""
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(part).__name__} has no list of blocks to stream")
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


class PlainGroup(ModuleGroup):
    """A group of weights that moves outside of inference mode, whatever the pass runs in."""

    def onload_(self) -> None:
        """The group's weights to the device."""
        with plain_mode():
            super().onload_()

    def offload_(self) -> None:
        """The group's weights back to the host."""
        with plain_mode():
            super().offload_()


@contextmanager
def blocks_streaming(blocks: nn.ModuleList, device: torch.device) -> Iterator[None]:
    """Each block on the device while it runs and, on CUDA, the next one on its way.

    The hooks are gone afterwards, also after an error; weights may then still be on the device.
    """
    alone = nn.Module()
    alone.blocks = blocks
    try:
        with plain_mode():
            apply_group_offloading(
                alone,
                onload_device=device,
                offload_device=torch.device("cpu"),
                offload_type="block_level",
                num_blocks_per_group=1,
                use_stream=device.type == "cuda",
            )
        hooks = _hooks(blocks)
        for hook in hooks:
            hook.group.__class__ = PlainGroup
        if device.type == "cuda":
            _chain(hooks)
        yield
    finally:
        for block in blocks:
            HookRegistry.check_if_exists_or_initialize(block).remove_hook(HOOK, recurse=False)


def _hooks(blocks: nn.ModuleList) -> list[GroupOffloadingHook]:
    """diffusers' hook of each block. Raises RuntimeError where one has none."""
    found = [HookRegistry.check_if_exists_or_initialize(block).get_hook(HOOK) for block in blocks]
    hooks = [hook for hook in found if isinstance(hook, GroupOffloadingHook)]
    if len(hooks) < len(found):
        raise RuntimeError(f"diffusers has no {HOOK!r} hook on a block any more")
    return hooks


def _chain(hooks: list[GroupOffloadingHook]) -> None:
    """Every block fetches the one after it; the first fetches itself."""
    for hook, following in pairwise(hooks):
        hook.next_group = following.group
        following.group.onload_self = False
