"""The header of a safetensors file: names, shapes and metadata, read without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

# Limit of the safetensors format; also what an untrusted file may make us read.
MAX_HEADER_BYTES = 100_000_000
LENGTH_BYTES = 8
# torch.save writes a zip archive, older versions and others a bare pickle of protocol 2 or later.
_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))


class Entry(NamedTuple):
    """A tensor as the header describes it."""

    dtype: str  # as safetensors spells it: F32, BF16, F8_E4M3, ...
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says about itself before its data."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]
    nbytes: int = 0  # of the whole file, header included

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by tensor name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read(file: Path) -> Header:
    """The header of `file`. Raises ValueError for what is not a whole safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(LENGTH_BYTES)
        most = min(MAX_HEADER_BYTES, size - LENGTH_BYTES)
        text = stream.read(length_of(start, name=file.name, most=most))
    header = parse(text, name=file.name)
    if size != header.nbytes:
        raise ValueError(f"{file.name} has {size} bytes, its header promises {header.nbytes}")
    return header


def length_of(start: bytes, *, name: str, most: int = MAX_HEADER_BYTES) -> int:
    """How many bytes of header follow a file's first eight, `start`.

    Raises ValueError where it cannot be the start of a safetensors file with a header of at most
    `most` bytes; a pickle is called so.
    """
    length = int.from_bytes(start, "little")
    if len(start) < LENGTH_BYTES or not 2 <= length <= most:
        # Only now: the length of a true header may begin with the same two bytes.
        if start.startswith(_PICKLES):
            raise ValueError(
                f"{name} is a pickle, which could run any code when it is read; "
                "only .safetensors files are read"
            )
        raise ValueError(f"{name} is not a safetensors file, the only kind that is read")
    return length


def parse(text: bytes, *, name: str) -> Header:
    """The header in the bytes after the first eight. Raises ValueError where it is broken."""
    try:
        content = cast("dict[str, dict[str, object]]", json.loads(text))
        metadata = content.pop("__metadata__", {})
        tensors = {key: _entry(tensor) for key, tensor in content.items()}
        ends = [_end(tensor) for tensor in content.values()]
        notes = {key: str(value) for key, value in metadata.items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"{name} has a broken safetensors header") from error
    nbytes = LENGTH_BYTES + len(text) + max(ends, default=0)
    return Header(tensors=tensors, metadata=notes, nbytes=nbytes)


def metadata(file: Path) -> dict[str, str]:
    """A file's metadata, e.g. an IC-LoRA's `reference_downscale_factor`; raises as `read`."""
    return dict(read(file).metadata)


def _entry(tensor: dict[str, object]) -> Entry:
    shape = tuple(int(size) for size in cast("list[int]", tensor["shape"]))
    if min(shape, default=0) < 0:
        raise ValueError(f"a shape of {shape}")
    return Entry(dtype=str(tensor["dtype"]), shape=shape)


def _end(tensor: dict[str, object]) -> int:
    return int(cast("list[int]", tensor["data_offsets"])[1])
