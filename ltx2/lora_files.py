"""LoRA files by their headers: what cannot act is refused before any weights are read. No torch."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from loras import headers
from loras.keys import match, some
from ltx2.adapters import NEEDS_A_PASS
from ltx2.errors import BadRequest, ConfigError, Ltx2Error
from ltx2.forms import lora_form
from ltx2.request import Request
from pipelines.checkpoints import keys
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.plan import Adapter, Variant

# Metadata of Lightricks' IC-LoRAs: how much smaller their reference video is than the clip.
_REFERENCE = "reference_downscale_factor"


def read_loras(request: Request, *, paths: bool) -> tuple[dict[str, str], list[Ltx2Error]]:
    """The sha256 of the request's own files by source, and why the others cannot act.

    Nothing fetches a LoRA yet, so it must be a local file or of the catalogue.
    """
    digests: dict[str, str] = {}
    refusals: list[Ltx2Error] = []
    accepted = "a local .safetensors file" if paths else "a catalogue id"
    for index, lora in enumerate(request.loras):
        form = lora_form(lora.source)
        if form in ("url", "repository"):
            name = lora.source.partition("?")[0]  # a URL's query may hold a key
            problem = f"{name} is not on this machine; give {accepted}"
        elif form == "path":
            problem = _problem(Path(lora.source))
            if problem is None:
                digests[lora.source] = _digest(Path(lora.source))
        else:
            continue  # the planner's
        if problem is not None:
            refusals.append(BadRequest(f"loras[{index}]: {problem}"))
    return digests, refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFiles:
    """Where an engine's LoRAs lie, and the weights that they must fit."""

    find: Callable[[str], Path]  # from an adapter's source to its file; raises ConfigError
    weights: Weights

    def refusals(
        self, adapters: Iterable[Adapter], variant: Variant, *, known: Collection[str] = ()
    ) -> list[Ltx2Error]:
        """Why adapters cannot act on a transformer, by names and shapes in the headers.

        `known` are sources of which it was said already. Says nothing of a transformer that is
        missing: the engine does.
        """
        sources = dict.fromkeys(adapter.source for adapter in adapters)
        wanted = [source for source in sources if source not in known]
        if not wanted or not self.weights.has("transformer", variant):
            return []
        try:
            layers = {"transformer": transformer_layers(self.weights, variant)}
        except CheckpointError as error:
            return [ConfigError(str(error))]
        found: list[Ltx2Error] = []
        for source in wanted:
            try:
                file = self.find(source)
                header = headers.read(file)
                match(header.shapes, layers, file=file.name, metadata=header.metadata)
            except ConfigError as error:
                found.append(error)
            except (ValueError, OSError) as error:
                mine = lora_form(source) == "path"
                kind, where = (BadRequest, "loras") if mine else (ConfigError, f"the LoRA {source}")
                found.append(kind(f"{where}: {error}"))
        return found


def transformer_layers(weights: Weights, variant: Variant) -> dict[str, tuple[int, int]]:
    """Path in the diffusers module -> (outputs, inputs) of every linear layer, from headers."""
    files = weights.files("transformer", variant)
    converted = files[0].is_dir()
    if converted:
        files = tuple(sorted(files[0].glob("*.safetensors")))
    layers: dict[str, tuple[int, int]] = {}
    for file in files:
        for name, tensor in read_header(file).tensors.items():
            if len(tensor.shape) != 2 or not name.endswith(".weight"):
                continue
            if not converted:
                if keys.component_of(name) != "transformer":
                    continue
                (name,) = keys.targets("transformer", name)
            layers[name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    return layers


def _problem(file: Path) -> str | None:
    """Why a file is no LoRA that can act, as far as it tells alone."""
    if not file.is_file():
        return f"there is no file {file}"
    try:
        header = headers.read(file)
    except (ValueError, OSError) as error:
        return f"{file} cannot be read: {error}"
    if _REFERENCE in header.metadata:
        return f"{file.name} {NEEDS_A_PASS}"
    if not any("lora" in name for name in header.tensors):
        has = some(sorted(header.tensors)) or "no tensors"
        return f"{file.name} is no LoRA: it has {has}; only plain LoRA can be loaded"
    return None


def _digest(file: Path) -> str:
    """The sha256 of a file, computed again only where its size or time has changed."""
    found = file.stat()
    return _sha256(file.absolute(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(file: Path, _size: int, _time: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
