"""Inputs in fp8 that are held beside the exact ones, in a run without weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchao.quantization import Float8Tensor

from loras.attach import lora_layers


@contextmanager
def rounded_beside(module: nn.Module) -> Iterator[None]:
    """A byte more a value of what goes into a layer, while it runs, where products are in fp8.

    That is where a LoRA acts beside a layer that is rounded to fp8: it reads the exact input, and
    the layer the rounded one. Elsewhere the rounded input stands in for the exact one.
    """
    held: dict[nn.Module, Tensor] = {}

    def hold(layer: nn.Module, given: tuple[Any, ...]) -> None:
        held[layer] = torch.empty(given[0].shape, dtype=torch.uint8, device=given[0].device)

    def let_go(layer: nn.Module, _given: tuple[Any, ...], _made: Any) -> None:  # noqa: ANN401
        held.pop(layer, None)

    hooks = [
        hook
        for _, layer in lora_layers(module)
        if isinstance(layer, nn.Module)
        and layer.active_adapters
        and isinstance(layer.get_base_layer().weight, Float8Tensor)
        for hook in (layer.register_forward_pre_hook(hold), layer.register_forward_hook(let_go))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
