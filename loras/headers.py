"""The header of a safetensors file: names, shapes and metadata, read without torch."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

# Limit of the safetensors format; also what an untrusted file may make us read.
MAX_HEADER_BYTES = 100_000_000
LENGTH_BYTES = 8
# torch.save writes a zip archive, older versions and others a bare pickle of protocol 2 or later.
_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))

# Bits of one number, by every type that safetensors has.
_BITS: Mapping[str, int] = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


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


def read(file: Path, *, name: str | None = None) -> Header:
    """The header of `file`, which messages call `name`.

    Raises ValueError for what is not a whole safetensors file.
    """
    name, size = name or file.name, file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(LENGTH_BYTES)
        most = min(MAX_HEADER_BYTES, size - LENGTH_BYTES)
        text = stream.read(length_of(start, name=name, most=most))
    header = parse(text, name=name)
    if size != header.nbytes:
        raise ValueError(f"{name} has {size} bytes, its header promises {header.nbytes}")
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
    """The header in the bytes after the first eight.

    Raises ValueError where it is broken: every tensor must have a known type and exactly the bytes
    that its shape needs, one right after the other, as any reader of the data expects them.
    """
    try:
        content = cast("dict[str, dict[str, object]]", json.loads(text))
        metadata = content.pop("__metadata__", None) or {}
        tensors = {key: _entry(key, tensor) for key, tensor in content.items()}
        spans = [(*_span(key, content[key], tensor), key) for key, tensor in tensors.items()]
        notes = {key: _text(key, value) for key, value in metadata.items()}
        end = _end(spans)
    except _Broken as error:
        raise ValueError(f"{name} has a broken safetensors header: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name} has a broken safetensors header") from error
    return Header(tensors=tensors, metadata=notes, nbytes=LENGTH_BYTES + len(text) + end)


def metadata(file: Path) -> dict[str, str]:
    """A file's metadata, e.g. an IC-LoRA's `reference_downscale_factor`; raises as `read`."""
    return dict(read(file).metadata)


class _Broken(ValueError):
    """What is wrong with a header, in words."""


def _entry(key: str, tensor: dict[str, object]) -> Entry:
    shape, dtype = _numbers(key, tensor["shape"]), str(tensor["dtype"])
    if dtype not in _BITS:
        raise _Broken(f"{key} is of an unknown type, {dtype[:20]!r}")
    return Entry(dtype=dtype, shape=shape)


def _span(key: str, tensor: dict[str, object], entry: Entry) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, counted from the end of the header."""
    offsets = _numbers(key, tensor["data_offsets"])
    if len(offsets) != 2:
        raise _Broken(f"{key} has {len(offsets)} offsets")
    start, end = offsets
    if 8 * (end - start) != math.prod(entry.shape) * _BITS[entry.dtype]:
        raise _Broken(f"{key} has {end - start} bytes for {entry.dtype} {list(entry.shape)}")
    return start, end


def _end(spans: Iterable[tuple[int, int, str]]) -> int:
    """The end of the data. Raises _Broken for a gap and for bytes that two tensors share."""
    reached = 0
    for start, end, key in sorted(spans):
        if start != reached:
            raise _Broken(f"{key} begins at {start}, where {reached} is due")
        reached = end
    return reached


def _numbers(key: str, value: object) -> tuple[int, ...]:
    """Whole numbers from 0 on; a boolean is none."""
    numbers = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _Broken(f"{key} has a shape or offsets that are no whole numbers")
    return tuple(cast("list[int]", numbers))


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Broken(f"its metadata {key!r} is no text")
    return value
