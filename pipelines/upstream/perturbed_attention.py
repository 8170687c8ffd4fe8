"""Spatio-temporal guidance perturbs only the streams it guides, and must perturb something.

What differs: (1) diffusers skips the self-attention of video and audio alike in the perturbed pass;
the reference only that of the streams whose STG scale is not zero. (2) A transformer built with
`perturbed_attn=False`, the class default, ignores the perturbation without a word: the pass is paid
for and changes nothing. The flag needs no weights.
End: when the transformer's forward takes the perturbed modalities,
`test_stock_stg_still_perturbs_both_streams` fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def perturbed_streams(
    transformer: nn.Module, blocks: tuple[int, ...], *, video: bool, audio: bool
) -> Iterator[list[int]]:
    """Yields the block list for `spatio_temporal_guidance_blocks`.

    Only the named streams are perturbed inside. Raises ValueError for blocks the model does not
    have, RuntimeError where STG would be a no-op.
    """
    check_blocks(transformer, blocks)

    def leave_alone(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "perturbation_mask": None, "all_perturbed": False}

    hooks = []
    for index in blocks:
        block = transformer.transformer_blocks[index]
        for attention, perturb in ((block.attn1, video), (block.audio_attn1, audio)):
            if not perturb:
                hooks.append(attention.register_forward_pre_hook(leave_alone, with_kwargs=True))
    try:
        yield list(blocks)
    finally:
        for hook in hooks:
            hook.remove()


def check_blocks(transformer: nn.Module, blocks: tuple[int, ...]) -> None:
    """Raises ValueError for blocks the model does not have, RuntimeError for a no-op."""
    if not transformer.config.perturbed_attn:
        raise RuntimeError(
            "the transformer was built with perturbed_attn=False, so STG would do nothing"
        )
    count = len(transformer.transformer_blocks)
    if beyond := [block for block in blocks if not 0 <= block < count]:
        raise ValueError(f"STG blocks {beyond} do not exist: the model has blocks 0 to {count - 1}")
