"""Where the parts of a checkpoint live between uses, and how they come to the device."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipelines.upstream.block_streaming import block_list, blocks_streaming
from pipelines.upstream.inference_tensors import plain_mode

# Fastest first; each needs less memory of the device, or of the host, than the one before it.
Residency = Literal["resident", "staged", "freed", "offload", "stream"]
Home = Literal["device", "host", "disk"]
Move = Callable[[Tensor, torch.device], Tensor]

TEXT_SIDE = ("text_encoder", "connectors")
STREAMED = ("text_encoder", "transformer")  # large, and made of equal blocks


def home(residency: Residency, name: str) -> Home:
    """Where a part waits between uses, by its name as in `Components`; one of the disk is loaded
    for each use.
    """
    component = name.partition(":")[0]
    if residency == "resident" or component == "tokenizer":
        return "device"
    if residency in ("staged", "freed") and component not in TEXT_SIDE:
        return "device"
    return "disk" if residency == "freed" else "host"


def streams(residency: Residency, name: str) -> bool:
    """Whether a part comes to the device block by block instead of whole."""
    return residency == "stream" and name.partition(":")[0] in STREAMED


@contextmanager
def on_device(
    residency: Residency,
    name: str,
    part: Any,  # noqa: ANN401 - any part
    device: torch.device,
    move: Move = Tensor.to,
) -> Iterator[None]:
    """A part usable on the device, for the length of the block.

    One that lives on the disk is empty afterwards, whoever still holds it.
    """
    place = home(residency, name)
    if not isinstance(part, nn.Module) or place == "device":
        yield
    elif place == "disk":
        try:
            yield
        finally:
            empty(part)
            free_memory(device)
    elif streams(residency, name):
        with streaming(part, device, move):
            yield
    else:
        with visiting(part, device, move):
            yield


@contextmanager
def visiting(part: nn.Module, device: torch.device, move: Move = Tensor.to) -> Iterator[None]:
    """A part of host memory on the device, for the length of the block.

    What lies in host memory stays there, so nothing is copied back; only weights that came in
    meanwhile, such as an adapter's, are. The part is whole again also where moving it failed.
    """
    try:
        with _replaced(tables(part), lambda tensor: move(tensor, device)):
            yield
    finally:
        for tensor in (*part.parameters(), *part.buffers()):
            if tensor.device.type != "cpu":
                tensor.data = tensor.data.to("cpu")
        free_memory(device)


@contextmanager
def streaming(part: nn.Module, device: torch.device, move: Move = Tensor.to) -> Iterator[None]:
    """A part of host memory on the device, its blocks one after the other.

    What is not in the blocks visits whole. The hooks are set for this use alone, so that they see
    the adapters that lie on the part now, and the part has none afterwards.
    """
    blocks = block_list(part)
    inside = {id(table) for table, _, _ in tables(blocks)}
    outside = [entry for entry in tables(part) if id(entry[0]) not in inside]
    # The hooks change the data of the tensors they find: they get others on the same memory.
    try:
        with (
            _replaced(outside, lambda tensor: move(tensor, device)),
            _replaced(_pinned(tables(blocks), device), Tensor.detach),
            blocks_streaming(blocks, device),
        ):
            yield
    finally:
        free_memory(device)


Entry = tuple[dict[str, Any], str, Tensor]


def tables(part: nn.Module) -> list[Entry]:
    """Every place of a module that holds a tensor: the table, the name in it, the tensor."""
    return [
        (table, name, tensor)
        for module in part.modules()
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]


@contextmanager
def _replaced(homes: list[Entry], replacement: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Other tensors in these places, for the length of the block; tied ones are replaced once."""
    there: dict[int, Tensor] = {}
    try:
        for table, name, tensor in homes:
            if id(tensor) not in there:
                there[id(tensor)] = _alike(tensor, replacement)
            table[name] = there[id(tensor)]
        yield
    finally:
        for table, name, tensor in homes:
            table[name] = tensor
        there.clear()


def _alike(tensor: Tensor, replacement: Callable[[Tensor], Tensor]) -> Tensor:
    """The replacement, a parameter where the tensor is one; it is no tensor of inference mode."""
    with plain_mode():
        new = replacement(tensor)
        if isinstance(tensor, nn.Parameter) and not isinstance(new, nn.Parameter):
            return nn.Parameter(new, requires_grad=False)
        return new


def _pinned(homes: list[Entry], device: torch.device) -> list[Entry]:
    """The same places with their tensors in page-locked memory, which a GPU reads by itself.

    They stay there, one after the other, so that the host never holds a part twice. Tensors that
    are made of others (quantised ones) are left to diffusers.
    """
    if device.type != "cuda":
        return homes
    with plain_mode():
        for _, _, tensor in homes:
            if type(tensor) in (Tensor, nn.Parameter) and not tensor.is_pinned():
                tensor.data = tensor.data.pin_memory()
    return homes


def empty(part: nn.Module) -> None:
    """Let go of every tensor of a module that is not used again, also where something holds it."""
    for table, name, _ in tables(part):
        table[name] = None


def free_memory(device: torch.device) -> None:
    """Return freed blocks to the device, so that the next part finds them in one piece."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
