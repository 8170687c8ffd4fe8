"""Tensors of a GGUF transformer as diffusers' own packed parameters, one at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from torch import Tensor, nn

from pipelines.checkpoints import keys
from pipelines.checkpoints.gguf import PLAIN, names, open_reader
from pipelines.checkpoints.headers import Header


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
        packed = GGUFParameter(data, quant_type=kind)
        if leaf == "weight" and isinstance(module.get_submodule(path), nn.Linear):
            _widening(module, path, dtype)
            yield name, packed
        else:
            yield name, dequantize_gguf_tensor(packed).to(dtype)


def _widening(module: nn.Module, path: str, dtype: torch.dtype) -> None:
    """Put diffusers' layer for packed weights in place of a linear one; its bias is kept."""
    layer = module.get_submodule(path)
    with init_empty_weights():
        new = GGUFLinear(
            layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype
        )
    new.bias = layer.bias
    parent, _, child = path.rpartition(".")
    module.get_submodule(parent)._modules[child] = new.train(layer.training)
