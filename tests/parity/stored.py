"""Safetensors files whose bytes follow from their content alone.

The order of tensors and of metadata is fixed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Stored(NamedTuple):
    """A tensor as it goes to the file."""

    values: np.ndarray  # float32
    exact: bool  # float32 in the file; bfloat16 otherwise


def write(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, Any]) -> Path:
    """Write `tensors`; metadata that is not text is stored as JSON.

    safetensors' own writer orders the metadata by chance.
    """
    texts = {
        key: value
        if isinstance(value, str)
        else json.dumps(value, separators=(",", ":"), sort_keys=True)
        for key, value in metadata.items()
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **texts}}
    blobs, offset = [], 0
    # float32 first: aligned.
    for key in sorted(tensors, key=lambda name: (not tensors[name].exact, name)):
        values, exact = tensors[key]
        blob = values.astype("<f4").tobytes() if exact else _bfloat16(values).tobytes()
        header[key] = {
            "dtype": "F32" if exact else "BF16",
            "shape": list(values.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    head = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.writelines(blobs)
    return path


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    return (
        (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    ).astype("<u2")
