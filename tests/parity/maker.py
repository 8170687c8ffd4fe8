"""Write the parity checkpoints.

Tiny random weights in Lightricks' file layout, byte for byte the same everywhere.

`data/checkpoints.json.gz` has the name, shape and rule of every tensor; the values follow from the
names.
"""

import gzip
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import stored
from tests.parity.random_tensors import fan_in, spread, uniform
from tests.parity.stored import Stored

DATA = Path(__file__).with_name("data")
SEED = 0
_FP32 = ("std", "mean", "const")  # statistics and filter taps are stored exactly


@cache
def table() -> dict[str, Any]:
    """The checkpoint table: `files` by name, and the constants they share."""
    return json.loads(gzip.decompress((DATA / "checkpoints.json.gz").read_bytes()))


def files_of(version: str) -> list[str]:
    """Names of the files of a generation ("2.0", "2.3", "2.5")."""

    def generation(name: str) -> str:
        return next((v for v in ("2.5", "2.3") if v in name), "2.0")

    return [name for name in table()["files"] if generation(name) == version]


def write(folder: Path, name: str) -> Path:
    """Write one file of the table into `folder`."""
    spec = table()["files"][name]
    return stored.write(folder / name, dict(_tensors(name, spec)), spec["metadata"])


def _tensors(name: str, spec: dict[str, Any]) -> Iterator[tuple[str, Stored]]:
    if "subset" in spec:  # the tensors of another file, under other prefixes
        source, prefixes = spec["subset"]
        for key, shape, rule in table()["files"][source]["tensors"]:
            for old, new in prefixes.items():
                if key.startswith(old):
                    yield new + key.removeprefix(old), _stored(rule, shape, source, key)
    if "lora" in spec:
        rank, alpha = spec["lora"]["rank"], spec["lora"]["alpha"]
        for module, out_features, in_features in spec["lora"]["targets"]:
            path = f"diffusion_model.{module}"
            for suffix, shape, rule in (
                (".lora_A.weight", [rank, in_features], "fan_in"),
                (".lora_B.weight", [out_features, rank], "bias"),
            ):
                yield path + suffix, _stored(rule, shape, name, path + suffix)
            if alpha is not None:
                yield path + ".alpha", Stored(np.asarray(alpha, np.float32), exact=True)
    for key, shape, rule in spec.get("tensors", ()):
        yield key, _stored(rule, shape, name, key)


def _stored(rule: str, shape: list[int], file: str, key: str) -> Stored:
    kind, _, argument = rule.replace("*", ":").partition(":")
    return Stored(_values(kind, argument, shape, f"{SEED}|{file}|{key}"), exact=kind in _FP32)


def _values(kind: str, argument: str, shape: list[int], stream: str) -> np.ndarray:
    if kind == "const":
        return np.asarray(table()["consts"][argument], np.float32).reshape(shape)
    if kind == "std":
        return (0.5 + uniform(stream, math.prod(shape))).astype(np.float32).reshape(shape)
    u = spread(stream, shape)
    if kind == "fan_in":
        factor = float(argument) if argument else 1.0
        return (factor * u / np.sqrt(np.float64(fan_in(shape)))).astype(np.float32)
    rules = {"norm": 1 + 0.1 * u, "bias": 0.1 * u, "unit": u, "mean": 0.2 * u, "small": 0.05 * u}
    return (np.abs(0.05 * u) if kind == "absmall" else rules[kind]).astype(np.float32)
