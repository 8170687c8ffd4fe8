"""Tensors of a GGUF transformer as diffusers' own packed parameters, one at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from torch import Tensor, nn

from pipelines.checkpoints import keys
from pipelines.checkpoints.gguf import PLAIN, names, open_reader
from pipelines.checkpoints.headers import Header

_PACKED: Any = GGUFParameter  # for pyright it takes what nn.Parameter takes


def packed_tensors(
    module: nn.Module, header: Header, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """diffusers' name and tensor of everything a transformer's file holds, on the device.

    Weights of linear layers stay packed, and their layers in `module` become those that widen them
    to `dtype` for each use. What is packed elsewhere is widened now: only linear layers can do it.
    """
    for stored, key in names(open_reader(header.path)):
        if keys.component_of(key) != "transformer":
            continue
        (name,) = keys.targets("transformer", key)
        # A copy: the mapped file is read only, and stays open no longer than it is read.
        data = torch.from_numpy(np.array(stored.data)).to(device)
        path, _, leaf = name.rpartition(".")
        kind = stored.tensor_type
        if kind.name == "BF16":
            data = data.view(torch.bfloat16)
        if kind.name in PLAIN:
            yield name, data.reshape(header.tensors[key].shape).to(dtype)
            continue
        packed = _PACKED(data, quant_type=kind)
        layer = module.get_submodule(path)
        if leaf == "weight" and isinstance(layer, nn.Linear):
            parent, _, child = path.rpartition(".")
            module.get_submodule(parent)._modules[child] = _widening(layer, dtype)
            yield name, packed
        else:
            yield name, dequantize_gguf_tensor(packed).to(dtype)


def _widening(layer: nn.Linear, dtype: torch.dtype) -> GGUFLinear:
    """diffusers' layer for packed weights in place of a linear one; its bias is kept."""
    with torch.device("meta"):
        new = GGUFLinear(
            layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype
        )
    new._parameters["bias"] = layer.bias  # another thread may build: see checkpoints/building.py
    new.train(layer.training)
    return new
