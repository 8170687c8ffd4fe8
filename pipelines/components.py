"""The loaded weights of one checkpoint.

Parts come when a stage first uses them and stay as the residency says.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ConditionPipeline
from torch import nn

from loras.adapters import AdapterStore, acts_on_text, stamp
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.gguf import is_gguf, quantised_kinds
from pipelines.checkpoints.headers import read_header
from pipelines.checkpoints.load import begin, load
from pipelines.checkpoints.quantise import Quantisation
from pipelines.plan import Adapter, Variant
from pipelines.prompt_cache import PromptCache
from pipelines.residency import Residency, free_memory, home, on_device
from pipelines.speed.levers import USUAL, Levers
from pipelines.speed.vae_layout import turn_weights
from pipelines.upstream.inference_tensors import plain_mode
from pipelines.values import Text

GIB = 2**30
_VARIANTS: dict[str, Variant] = {"": "distilled", "distilled": "distilled", "dev": "dev"}
PIPE_PARTS = ("vae", "audio_vae", "text_encoder", "tokenizer", "vocoder")


class Components:
    """Parts of a checkpoint by name: "vae", "text_encoder", "transformer:dev", ...

    `residency` "resident" keeps every part on the device; "staged" keeps the text encoder and the
    connectors in host memory and moves them there for the prompt alone; "freed" loads these two
    for the prompt and drops them after it; "offload" moves every part there only while a stage uses
    it; so does "stream", the transformer and the text encoder block by block. Parts that differ by
    variant are held for one variant at a time unless `keep_variants`. `find_adapter` gives the file
    of a plan's adapter. `quantise` says by component what is rounded as it loads. `levers` say how
    passes are computed.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        residency: Residency = "resident",
        keep_variants: bool = False,
        find_adapter: Callable[[Adapter], Path] = lambda adapter: Path(adapter.source),
        quantise: Mapping[str, Quantisation] = MappingProxyType({}),
        levers: Levers = USUAL,
    ) -> None:
        self.weights = weights
        self.device = torch.device(device)
        self.dtype = dtype
        self.residency: Residency = residency
        self.prompts = PromptCache()
        self._keep_variants = keep_variants
        self.find_adapter = find_adapter
        self.quantise = dict(quantise)
        self.levers = levers
        # How several processes share a transformer's passes.
        self.shared: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext
        self._adapters = AdapterStore(max_bytes=adapter_bytes(self.device))
        self._parts: dict[str, Any] = {}
        self._in_use: set[str] = set()

    def part(self, name: str) -> Any:  # noqa: ANN401 - modules and tokenizers alike
        """A part where it lives, loaded if it is not there yet."""
        name = self.key(name)
        if name not in self._parts:
            component, _, variant = name.partition(":")
            if variant and not self._keep_variants:
                for other in [key for key in self._parts if key.startswith(f"{component}:")]:
                    self.drop(other)
            self._parts[name] = self._load(component, _VARIANTS[variant], self._home(component))
        return self._parts[name]

    def load_together(self, names: Sequence[str], *, threads: int = 2) -> dict[str, float]:
        """Load the parts that are not there yet, several at once; seconds by part.

        The first of `names` start first. What is loaded is what `part` would load, and all of it
        stays: two variants of a part are for components that keep both. Raises an ExceptionGroup of
        all that went wrong, once every part is loaded or has failed.
        """
        wanted = [name for name in dict.fromkeys(map(self.key, names)) if name not in self._parts]
        # Built one after the other, before anything is read: see checkpoints/building.py.
        begun = _all_done(1, {name: partial(self._begin, name) for name in wanted})
        ready = {name: future.result() for name, future in begun.items() if not future.exception()}
        read = _all_done(threads, {name: partial(_timed, each) for name, each in ready.items()})
        failures = [future.exception() for future in (*begun.values(), *read.values())]
        if failed := [error for error in failures if isinstance(error, Exception)]:
            raise ExceptionGroup("parts could not be loaded", failed)
        found = {name: future.result() for name, future in read.items()}
        self._parts.update({name: part for name, (part, _) in found.items()})
        return {name: seconds for name, (_, seconds) in found.items()}

    def _begin(self, name: str) -> Callable[[], Any]:
        component, _, variant = name.partition(":")
        read = begin(
            self.weights,
            component,
            variant=_VARIANTS[variant],
            device=self._home(component),
            dtype=self.dtype,
            quantise=self.quantise.get(component, "none"),
        )
        return lambda: self._laid_out(component, read())

    def _laid_out(self, component: str, part: Any) -> Any:  # noqa: ANN401
        """The part with its weights as what computes on the device wants them."""
        if component == "vae":
            turn_weights(part, self.levers.vae_layout, self.device)
        return part

    def _home(self, component: str) -> torch.device:
        """The device on which a part is loaded."""
        waits = home(self.residency, component) == "host"
        return torch.device("cpu") if waits else self.device

    def _load(self, component: str, variant: Variant, device: torch.device) -> Any:  # noqa: ANN401
        with plain_mode():  # a stage may be the first to use it
            part = load(
                self.weights,
                component,
                variant=variant,
                device=device,
                dtype=self.dtype,
                quantise=self.quantise.get(component, "none"),
            )
            return self._laid_out(component, part)

    def rounding(self, variant: Variant) -> tuple[str, ...]:
        """A sentence for each part whose weights are not those of the released model."""
        found = [
            f"the {component.replace('_', ' ')}'s weights are rounded to {kind}"
            for component, kind in self.quantise.items()
            if kind != "none"
        ]
        if packed := self._packed(variant):
            file, kinds = packed
            found.append(f"the transformer's weights are quantised ({file.name}: {kinds})")
        return tuple(found)

    def rounded(self, variant: Variant) -> dict[str, str]:
        """The same as data: how the weights are stored, by component; empty where all are exact."""
        found: dict[str, str] = {
            component: kind for component, kind in self.quantise.items() if kind != "none"
        }
        if packed := self._packed(variant):
            found["transformer"] = f"gguf {packed[1]}"
        return found

    def _packed(self, variant: Variant) -> tuple[Path, str] | None:
        """The GGUF file that the transformer comes from, and how it is quantised."""
        if not self.weights.has("transformer", variant):
            return None
        file = self.weights.files("transformer", variant)[0]
        kinds = quantised_kinds(read_header(file)) if is_gguf(file) else ""
        return (file, kinds) if kinds else None

    @property
    def keeps_variants(self) -> bool:
        """Whether both variants of a part may be loaded at once."""
        return self._keep_variants

    @property
    def held(self) -> tuple[str, ...]:
        """The parts that are loaded, by name."""
        return tuple(self._parts)

    def live_as(self, residency: Residency) -> None:
        """Another residency from now on. Parts that live elsewhere in it load again when used."""
        for name in self.held:
            if home(residency, name) != home(self.residency, name):
                self.drop(name)
        self.residency = residency

    def limit_adapters(self, max_bytes: int) -> None:
        """Bytes of adapters that may stay loaded; what is more than that and not in use goes."""
        self._adapters.limit(max_bytes)

    def key(self, name: str) -> str:
        """One name for a part that both variants read from the same files."""
        component, _, variant = name.partition(":")
        if variant != "dev" or component == "transformer":
            return name
        same = self.weights.files(component, "dev") == self.weights.files(component, "distilled")
        return f"{component}:distilled" if same else name

    def known_text(
        self, variant: Variant, prompt: str, adapters: tuple[Adapter, ...] = ()
    ) -> Text | None:
        """A prompt that was encoded for a variant with these adapters, or None."""
        return self.prompts.get(self.text_key(variant, adapters), prompt)

    def text_key(self, variant: Variant, adapters: tuple[Adapter, ...]) -> str:
        """Names the connectors as they are with these adapters: files by content, and strengths.

        The connectors' own name where no adapter has anything for them.
        """
        own = [f"{stamp(file)}@{strength!r}" for file, strength in self._text_files(adapters)]
        return "|".join((self.key(f"connectors:{variant}"), *own))

    def drop_adapters(self) -> None:
        """Free the LoRAs that stay loaded; each is loaded again when it is used again."""
        self._adapters.clear()
        free_memory(self.device)

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
        with self._on_device(name, part):
            yield part

    @contextmanager
    def _on_device(self, name: str, part: Any) -> Iterator[None]:  # noqa: ANN401
        key = self.key(name)
        if key in self._in_use:  # as by a decoder that feeds an encoder: the first use brought it
            yield
            return
        self._in_use.add(key)
        try:
            with on_device(self.residency, name, part, self.device):
                yield
        finally:
            self._in_use.discard(key)
            if home(self.residency, name) == "disk":
                self.drop(key)

    @contextmanager
    def using_transformer(
        self,
        variant: Variant,
        adapters: tuple[Adapter, ...],
        prepared: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
    ) -> Iterator[nn.Module]:
        """A transformer with exactly these adapters active, and what `prepared` does to it.

        Its state is put back afterwards, also on an error.
        """
        name = f"transformer:{variant}"
        transformer = self.part(name)
        applied = self._adapters.applied(
            {"transformer": transformer}, self._files(adapters), elsewhere=("connectors",)
        )
        # Adapters first: they come to the device with the layers they lie on. Then what is
        # prepared: hooks that bring blocks to the device go around it.
        with (
            applied,
            prepared(transformer),
            self._on_device(name, transformer),
            self.shared(transformer),
        ):
            yield transformer

    @contextmanager
    def using_connectors(
        self, variant: Variant, adapters: tuple[Adapter, ...]
    ) -> Iterator[nn.Module]:
        """As `using_transformer`, the connectors with what these adapters have for them."""
        name = f"connectors:{variant}"
        connectors = self.part(name)
        applied = self._adapters.applied(
            {"connectors": connectors}, self._text_files(adapters), elsewhere=("transformer",)
        )
        with applied, self._on_device(name, connectors):
            yield connectors

    def _files(self, adapters: tuple[Adapter, ...]) -> list[tuple[Path, float]]:
        return [(self.find_adapter(adapter), adapter.strength) for adapter in adapters]

    def _text_files(self, adapters: tuple[Adapter, ...]) -> list[tuple[Path, float]]:
        """Those that have something for the connectors and are not at strength 0."""
        files = self._files(adapters)
        return [(file, strength) for file, strength in files if strength and acts_on_text(file)]

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


def _all_done(threads: int, work: Mapping[str, Callable[[], Any]]) -> dict[str, "Future[Any]"]:
    """What came of every function, run in so many threads."""
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        return {name: pool.submit(function) for name, function in work.items()}


def _timed(read: Callable[[], Any]) -> tuple[Any, float]:
    """What a function gives, and the seconds it took."""
    began = time.monotonic()
    return read(), time.monotonic() - began


def adapter_bytes(device: torch.device) -> int:
    """How many bytes of LoRAs may stay loaded: an eighth of a GPU, but the largest file fits."""
    if device.type != "cuda":
        return 16 * GIB
    return max(10 * GIB, torch.cuda.get_device_properties(device).total_memory // 8)
