"""Read the reference's cases: inputs, recipe and outputs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.maker import DATA

VERSIONS = ("2.0", "2.3", "2.5")


@dataclass(frozen=True)
class Case:
    """One case. Arrays whose names start with `out_` are the reference's outputs."""

    version: str
    name: str
    recipe: dict[str, Any]
    arrays: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays


@cache
def load(version: str, name: str) -> Case:
    """A case of `data/<version>/<name>.npz`."""
    with np.load(DATA / version / f"{name}.npz", allow_pickle=False) as content:
        recipe = json.loads(str(content["recipe"]))
        arrays = {key: torch.from_numpy(content[key]) for key in content.files if key != "recipe"}
    return Case(version=version, name=name, recipe=recipe, arrays=arrays)


def names(version: str) -> list[str]:
    """The cases of a generation."""
    return sorted(path.stem for path in (DATA / version).glob("*.npz"))


def tolerance(reference: Tensor, limit: float = 1e-4) -> float:
    """The largest difference that is rounding: `limit` of the reference's spread, at least of 1."""
    return limit * max(1.0, float(reference.std()))


def assert_close(ours: Tensor, reference: Tensor, what: str, limit: float = 1e-4) -> None:
    """max |ours - reference| <= tolerance(reference, limit), and the shapes are the same."""
    assert ours.shape == reference.shape, (
        f"{what}: {tuple(ours.shape)}, not {tuple(reference.shape)}"
    )
    allowed = tolerance(reference, limit)
    error = float((ours.float() - reference).abs().max())
    assert error <= allowed, f"{what}: off by {error:.2e}, allowed {allowed:.2e}"
