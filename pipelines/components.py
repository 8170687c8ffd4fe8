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
from torch import Tensor, nn

from loras.adapters import AdapterStore
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.load import load
from pipelines.plan import Adapter, Variant
from pipelines.prompt_cache import PromptCache
from pipelines.values import Text

Residency = Literal["resident", "staged", "offload"]
GIB = 2**30
# Of the 22B models in bfloat16, as reported: transformer 35 GiB, Gemma 23, connectors 6, Pro's LoRA
# 7, the rest 3; and by count of shapes about 12 for a pass over 1920x1088 for 5 s.
RESIDENT_GIB, STAGED_GIB = 96, 64
TEXT_SIDE = ("text_encoder", "connectors")
_VARIANTS: dict[str, Variant] = {"": "distilled", "distilled": "distilled", "dev": "dev"}
PIPE_PARTS = ("vae", "audio_vae", "text_encoder", "tokenizer", "vocoder")


class Components:
    """Parts of a checkpoint by name: "vae", "text_encoder", "transformer:dev", ...

    `residency` "resident" keeps every part on the device; "staged" keeps the text encoder and the
    connectors in host memory and moves them there for the prompt alone; "offload" moves every part
    there only while a stage uses it. Parts that differ by variant are held for one variant at a
    time unless `keep_variants`. `find_adapter` turns the source of a plan's adapter into a file.
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
        self._adapters = AdapterStore(max_bytes=adapter_bytes(self.device))
        self._parts: dict[str, Any] = {}

    def part(self, name: str) -> Any:  # noqa: ANN401 - modules and tokenizers alike
        """A part where it lives, loaded if it is not there yet."""
        name = self.key(name)
        if name not in self._parts:
            component, _, variant = name.partition(":")
            if variant and not self._keep_variants:
                for other in [key for key in self._parts if key.startswith(f"{component}:")]:
                    self.drop(other)
            self._parts[name] = load(
                self.weights,
                component,
                variant=_VARIANTS[variant],
                device=torch.device("cpu") if self._lives_in_host_memory(name) else self.device,
                dtype=self.dtype,
            )
        return self._parts[name]

    def key(self, name: str) -> str:
        """One name for a part that both variants read from the same files."""
        component, _, variant = name.partition(":")
        if variant != "dev" or component == "transformer":
            return name
        same = self.weights.files(component, "dev") == self.weights.files(component, "distilled")
        return f"{component}:distilled" if same else name

    def known_text(self, variant: Variant, prompt: str) -> Text | None:
        """A prompt that was encoded for a variant, or None."""
        return self.prompts.get(self.key(f"connectors:{variant}"), prompt)

    def drop(self, name: str) -> None:
        """Free a part; it is loaded again when it is used again."""
        part = self._parts.pop(name, None)
        if isinstance(part, nn.Module):
            self._adapters.forget(part)
        del part
        free_memory(self.device)

    def _lives_in_host_memory(self, name: str) -> bool:
        component = name.partition(":")[0]
        return self.residency == "offload" or (
            self.residency == "staged" and component in TEXT_SIDE
        )

    @contextmanager
    def using(self, name: str) -> Iterator[Any]:
        """A part on the device, for the length of the block."""
        part = self.part(name)
        if isinstance(part, nn.Module) and self._lives_in_host_memory(name):
            with visiting(part, self.device):
                yield part
        else:
            yield part

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


@contextmanager
def visiting(
    part: nn.Module,
    device: torch.device,
    move: Callable[[Tensor, torch.device], Tensor] = Tensor.to,
) -> Iterator[None]:
    """A part of host memory on the device, for the length of the block.

    What lies in host memory stays there, so nothing is copied back; only weights that came in
    meanwhile, such as an adapter's, are. The part is whole again also where moving it failed.
    """
    homes: list[tuple[dict[str, Any], str, Tensor]] = [
        (table, name, tensor)
        for module in part.modules()
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]
    there: dict[int, Tensor] = {}  # tied weights move once
    try:
        for table, name, tensor in homes:
            if id(tensor) not in there:
                moved = move(tensor.data, device)
                weight = isinstance(tensor, nn.Parameter)
                there[id(tensor)] = nn.Parameter(moved, requires_grad=False) if weight else moved
            table[name] = there[id(tensor)]
        yield
    finally:
        for table, name, tensor in homes:
            table[name] = tensor
        there.clear()
        for tensor in (*part.parameters(), *part.buffers()):
            if tensor.device.type != "cpu":
                tensor.data = tensor.data.to("cpu")
        free_memory(device)


def adapter_bytes(device: torch.device) -> int:
    """How many bytes of LoRAs may stay loaded: an eighth of a GPU, but the largest file fits."""
    if device.type != "cuda":
        return 16 * GIB
    return max(10 * GIB, torch.cuda.get_device_properties(device).total_memory // 8)


def choose_residency(weights_bytes: int, device: torch.device) -> tuple[Residency, str]:
    """The residency that fits a device, and why, in words."""
    if device.type != "cuda":
        return "resident", "there is no GPU memory to save"
    memory = torch.cuda.get_device_properties(device).total_memory
    return residency_for(weights_bytes, memory)


def residency_for(weights_bytes: int, memory_bytes: int) -> tuple[Residency, str]:
    """The residency for a GPU of that much memory; see `choose_residency`."""
    size = f"the GPU has {memory_bytes / GIB:.0f} GiB"
    if 2 * weights_bytes < memory_bytes:
        return "resident", f"{size}, the weights take {weights_bytes / GIB:.1f}"
    if memory_bytes >= RESIDENT_GIB * GIB * 0.95:  # a card of 96 reports a little less
        return "resident", f"{size}, enough for all parts at once"
    if memory_bytes >= STAGED_GIB * GIB:
        return "staged", f"{size}: the text encoder waits in host memory while a clip is made"
    return "offload", f"{size}: every part waits in host memory until it is used"


def free_memory(device: torch.device) -> None:
    """Return freed blocks to the device, so that the next part finds them in one piece."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
