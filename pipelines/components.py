"""The loaded weights of one checkpoint.

Parts come when a stage first uses them and stay as the residency says.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ConditionPipeline
from torch import nn

from loras.adapters import AdapterStore
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.load import load
from pipelines.plan import Adapter, Variant
from pipelines.prompt_cache import PromptCache

Residency = Literal["resident", "offload"]
_VARIANTS: dict[str, Variant] = {"": "distilled", "distilled": "distilled", "dev": "dev"}
PIPE_PARTS = ("vae", "audio_vae", "text_encoder", "tokenizer", "vocoder")


class Components:
    """Parts of a checkpoint by name: "vae", "text_encoder", "transformer:dev", ...

    `residency` "resident" keeps every part on the device; "offload" keeps parts in host memory and
    moves one to the device while a stage uses it. Parts that differ by variant are held for one
    variant at a time unless `keep_variants`. `find_adapter` turns the source of a plan's adapter
    into a local file.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        residency: Residency = "resident",
        keep_variants: bool = False,
        find_adapter: Callable[[str], Path] = Path,
    ) -> None:
        self.weights = weights
        self.device = torch.device(device)
        self.dtype = dtype
        self.residency: Residency = residency
        self.prompts = PromptCache()
        self._keep_variants = keep_variants
        self._find_adapter = find_adapter
        self._adapters = AdapterStore()
        self._parts: dict[str, Any] = {}

    def part(self, name: str) -> Any:  # noqa: ANN401 - modules and tokenizers alike
        """A part where it lives, loaded if it is not there yet."""
        if name not in self._parts:
            component, _, variant = name.partition(":")
            if variant and not self._keep_variants:
                for other in [key for key in self._parts if key.startswith(f"{component}:")]:
                    self.drop(other)
            home = self.device if self.residency == "resident" else torch.device("cpu")
            self._parts[name] = load(
                self.weights,
                component,
                variant=_VARIANTS[variant],
                device=home,
                dtype=self.dtype,
            )
        return self._parts[name]

    def drop(self, name: str) -> None:
        """Free a part; it is loaded again when it is used again."""
        part = self._parts.pop(name, None)
        if isinstance(part, nn.Module):
            self._adapters.forget(part)
        del part
        free_memory(self.device)

    @contextmanager
    def using(self, name: str) -> Iterator[Any]:
        """A part on the device, for the length of the block."""
        part = self.part(name)
        if self.residency == "resident" or not isinstance(part, nn.Module):
            yield part
            return
        part.to(self.device)
        try:
            yield part
        finally:
            part.to("cpu")
            free_memory(self.device)

    @contextmanager
    def using_transformer(
        self, variant: Variant, adapters: tuple[Adapter, ...]
    ) -> Iterator[nn.Module]:
        """A transformer with exactly these adapters active.

        Its state is put back afterwards, also on an error.
        """
        with self.using(f"transformer:{variant}") as transformer:
            files = [(self._find_adapter(adapter.source), adapter.strength) for adapter in adapters]
            with self._adapters.applied(transformer, files):
                yield transformer

    def pipe(self, variant: Variant) -> LTX2ConditionPipeline:
        """The same parts as a diffusers pipeline.

        Its own defaults are not ours: see docs/numerics.md.
        """
        return LTX2ConditionPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            transformer=self.part(f"transformer:{variant}"),
            connectors=self.part(f"connectors:{variant}"),
            **{name: self.part(name) for name in PIPE_PARTS},
        )


def free_memory(device: torch.device) -> None:
    """Return freed blocks to the device, so that the next part finds them in one piece."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
