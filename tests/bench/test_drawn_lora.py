"""The drawn LoRA lies on as many layers as the released one."""

from pathlib import Path

import torch

from ltx2.memory_table import released_fit
from pipelines.drawn import Drawn
from pipelines.models import CHECKPOINTS


def test_a_drawn_lora_has_the_layers_of_the_released_one():
    outlines = released_fit(CHECKPOINTS["ltx-2.3"])._outlines
    transformer = outlines.part("transformer", "distilled")
    drawn = Drawn(
        CHECKPOINTS["ltx-2.3"].generation,
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
        scratch=Path(),
        rank=1,
    )
    names = [name for name, _ in drawn._factors(transformer)]
    blocks = len(transformer.transformer_blocks)
    # 1,344 layers over 48 blocks, two factors each.
    assert len(names) / blocks == 2 * 1344 / 48
