"""The header of a safetensors file: names, shapes and metadata, read without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

# Limit of the safetensors format; also what an untrusted file may make us read.
MAX_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8


class Entry(NamedTuple):
    """A tensor as the header describes it."""

    dtype: str  # as safetensors spells it: F32, BF16, F8_E4M3, ...
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says about itself before its data."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by tensor name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read(file: Path) -> Header:
    """The header of `file`. Raises ValueError for what is not a whole safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
            raise ValueError(f"{file.name} is not a safetensors file, the only kind that is read")
        text = stream.read(length)
    try:
        content = cast("dict[str, dict[str, object]]", json.loads(text))
        metadata = content.pop("__metadata__", {})
        tensors = {name: _entry(tensor) for name, tensor in content.items()}
        ends = [_end(tensor) for tensor in content.values()]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{file.name} has a broken safetensors header") from error
    expected = _LENGTH_BYTES + length + max(ends, default=0)
    if size != expected:
        raise ValueError(f"{file.name} has {size} bytes, its header promises {expected}")
    return Header(tensors=tensors, metadata={key: str(value) for key, value in metadata.items()})


def metadata(file: Path) -> dict[str, str]:
    """A file's metadata, e.g. an IC-LoRA's `reference_downscale_factor`; raises as `read`."""
    return dict(read(file).metadata)


def _entry(tensor: dict[str, object]) -> Entry:
    shape = tuple(int(size) for size in cast("list[int]", tensor["shape"]))
    return Entry(dtype=str(tensor["dtype"]), shape=shape)


def _end(tensor: dict[str, object]) -> int:
    return int(cast("list[int]", tensor["data_offsets"])[1])
