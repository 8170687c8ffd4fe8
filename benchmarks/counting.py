"""How often the transformer is called, and with how many rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(slots=True)
class Calls:
    """Forward passes since counting began."""

    forwards: int = 0
    rows: int = 0

    def per_step(self, steps: int) -> dict[str, float]:
        """Forwards and rows of an average step."""
        return {
            "forwards_per_step": round(self.forwards / steps, 3),
            "rows_per_step": round(self.rows / steps, 3),
        }


@contextmanager
def calls_of(transformer: nn.Module) -> Iterator[Calls]:
    """Counts while the block runs. A hook costs time: what is timed is not counted."""
    counted = Calls()

    def count(_module: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
        hidden = named["hidden_states"] if "hidden_states" in named else given[0]
        hidden = getattr(
            hidden, "latent", hidden
        )  # of Lightricks' transformer, which has both in one
        counted.forwards += 1
        counted.rows += hidden.shape[0] if isinstance(hidden, torch.Tensor) else 1

    hook = transformer.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counted
    finally:
        hook.remove()
