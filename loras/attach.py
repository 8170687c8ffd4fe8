"""One LoRA file onto the layers of modules, all of it or nothing, and off again."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from loras import headers
from loras.declared import Declared
from loras.factors import FactorsVariant, factor_type, factors_of
from loras.keys import LoraMismatch, Match, match
from loras.kinds import Role, Update

# Plain LoRA for inference; rank and alpha are given with every layer.
_CONFIG = LoraConfig(init_lora_weights=False, inference_mode=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An adapter that lies on its modules."""

    name: str
    kind: str  # "lora", "dora", "lokr", ...; several joined by +
    rank: int | None  # the largest, where layers differ; None where the kind has none
    layers: int  # 0 where all of it is for components that were not among the modules
    nbytes: int  # of its weights in memory
    metadata: Mapping[str, str]  # the file's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file that has been found to fit, before any of its data is read."""

    file: Path
    match: Match
    metadata: Mapping[str, str]
    nbytes: int


def header_of(file: Path) -> headers.Header:
    """A file's header. Raises LoraMismatch for what is no whole safetensors file."""
    try:
        return headers.read(file)
    except ValueError as error:
        raise LoraMismatch(str(error), file=file) from error


def prepare(
    parts: Mapping[str, nn.Module], file: Path, max_file_bytes: int, elsewhere: Collection[str]
) -> Prepared:
    """Check everything that can be known from the header. Raises LoraMismatch.

    What is for a component of `elsewhere` that is not among the parts is left out.
    """
    size = file.stat().st_size
    if size > max_file_bytes:
        raise LoraMismatch(f"{file.name} has {amount(size)}; the limit is {amount(max_file_bytes)}")
    header = header_of(file)
    linears = {component: dict(_linears(module)) for component, module in parts.items()}
    sizes = {
        component: {
            path: (linear.out_features, linear.in_features) for path, linear in found.items()
        }
        for component, found in linears.items()
    }
    found = match(header, sizes, file=file.name, elsewhere=elsewhere)
    nbytes = sum(
        update.elements * factor_type(linears[update.component][update.path]).itemsize
        + update.magnitudes * torch.float32.itemsize
        for update in found.updates
    )
    return Prepared(file=file, match=found, metadata=header.metadata, nbytes=nbytes)


def attach(parts: Mapping[str, nn.Module], prepared: Prepared, name: str) -> Loaded:
    """Put a checked file on its layers, all or none."""
    found = prepared.match
    try:
        # Plain tensors also where a sampler loads them: later uses need not be in inference mode.
        with torch.inference_mode(mode=False), safe_open(prepared.file, framework="pt") as content:
            for update in found.updates:
                module, notes = parts[update.component], found.declared[update.component]
                try:
                    tensors = {key: content.get_tensor(key) for key in update.tensors.values()}
                    _refuse_unless_finite(tensors)
                    roles = {role: tensors[key] for role, key in update.tensors.items()}
                    _attach_update(module, update, roles, notes, name)
                except ValueError as error:
                    raise LoraMismatch(f"{prepared.file.name}: {update.path}: {error}") from error
    except SafetensorError as error:  # what only a reader of the data finds
        detach(parts, name)
        raise LoraMismatch(f"{prepared.file.name} cannot be read: {error}") from error
    except BaseException:
        detach(parts, name)
        raise
    return Loaded(
        name=name,
        kind=found.kind,
        rank=found.rank,
        layers=len(found.updates),
        nbytes=prepared.nbytes,
        metadata=prepared.metadata,
    )


def _refuse_unless_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights that would make every number of a clip none."""
    for key, tensor in tensors.items():
        # The short types of a byte cannot be asked as they are.
        asked = tensor if tensor.element_size() > 1 else tensor.float()
        if not asked.isfinite().all():
            raise ValueError(f"{key} has numbers that are not finite")


def _attach_update(
    module: nn.Module,
    update: Update,
    tensors: Mapping[Role, Tensor],
    notes: Declared,
    name: str,
) -> None:
    """Wrap the layer if it is not wrapped yet, and give it the update's weights, switched off."""
    alpha = tensors["alpha"].item() if "alpha" in tensors else notes.alpha_of(update.path)
    scale = update.scale(alpha, rank_stabilised=notes.rank_stabilised and "alpha" not in tensors)
    if not math.isfinite(scale):
        raise ValueError(f"its alpha is {alpha}")
    layer, rank = module.get_submodule(update.path), update.rank or 1
    with torch.device("meta"):  # the weights come from the file; no memory for others
        if isinstance(layer, LoraLayer):
            layer.update_layer(name, rank, rank, _CONFIG)
        else:
            base = layer
            layer = LoraLinear(base, name, _CONFIG, r=rank, lora_alpha=rank)
            layer.train(base.training)
            activate(layer, [])
            _put(module, update.path, layer)
    linear = cast("nn.Linear", layer.get_base_layer())
    if update.kind != "lora" or update.magnitude is not None:
        layer.lora_A[name] = factors_of(update, tensors, linear, scale)
        layer.lora_B[name] = nn.Identity()  # PEFT looks it up whatever the variant
        layer.lora_variant[name] = FactorsVariant()
        return
    layer.lora_alpha[name] = scale * rank
    layer.scaling[name] = scale
    for holder, tensor in ((layer.lora_A, tensors["A"]), (layer.lora_B, tensors["B"])):
        # A copy, so that no weight is a view of the mapped file.
        weight = tensor.to(linear.weight.device, factor_type(linear), copy=True)
        holder[name].weight = nn.Parameter(weight, requires_grad=False)


def detach(parts: Mapping[str, nn.Module], name: str) -> None:
    """Take an adapter off; layers that no other adapter needs become what they were before."""
    for module in parts.values():
        for path, layer in list(lora_layers(module)):
            if name not in layer.scaling:
                continue
            # PEFT would switch on some other adapter in place of an active one.
            activate(layer, [active for active in layer.active_adapters if active != name])
            layer.delete_adapter(name)
            if not layer.scaling:
                _put(module, path, layer.get_base_layer())


def activate(layer: LoraLayer, names: list[str]) -> None:
    """Let exactly these adapters of a layer act."""
    layer.set_adapter(names, inference_mode=True)


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)


def lora_layers(module: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Layers with adapters, by path."""
    for path, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            yield path, layer


def _linears(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Linear layers by the path they have, or had before they were wrapped."""
    inside = "\0"  # what a wrapped layer holds comes right after it
    for path, layer in module.named_modules():
        if path.startswith(inside):
            continue
        if isinstance(layer, BaseTunerLayer):
            inside = path + "."
            base = layer.get_base_layer()
            if isinstance(base, nn.Linear):
                yield path, base
        elif isinstance(layer, nn.Linear):
            yield path, layer


def amount(size: int) -> str:
    """Bytes for people: none is ever rounded to nothing."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size:,} bytes"
