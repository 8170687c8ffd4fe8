"""The parts of the embedded checkpoint by its own loader, ready to train something on."""

import json
from pathlib import Path

import torch
from torch import nn

from ltx2.settings import Settings
from ltx2.weights import resolve
from pipelines.checkpoints.files import Weights, find
from pipelines.checkpoints.headers import read_header
from pipelines.checkpoints.load import load
from pipelines.plan import Variant
from tiny import sizes
from tiny.transformer import Generator


class NotThisFamily(ValueError):
    """A checkpoint that the training code does not fit."""


def weights_of(checkpoint: str, settings: Settings) -> Weights:
    """The files of `checkpoint`: "tiny", or a folder or file of the same layout and sizes.

    Raises BadRequest and ConfigError as `ltx2.weights.resolve` does, and NotThisFamily for another
    model or the same of other sizes.
    """
    found = resolve(checkpoint, settings, mode="all")
    if found.row.name != "tiny":
        raise NotThisFamily(f"{checkpoint} is {found.row.name}; accepted is tiny or a copy of it")
    weights = find(found.path, found.row)
    file = weights.files("transformer", "dev")[0]
    if read_header(file).config != json.loads(json.dumps(sizes.ORIGINAL)):
        raise NotThisFamily(f"{file} has other sizes than those in tiny/sizes.py")
    return weights


def part(weights: Weights, name: str, variant: Variant = "dev") -> nn.Module:
    """A part by its name among `pipelines.checkpoints.keys.COMPONENTS`: float32, frozen."""
    return load(weights, name, variant=variant, device=torch.get_default_device())


def generator(weights: Weights, variant: Variant = "dev") -> Generator:
    """The transformer of a variant with its connectors, as training knows them."""
    made = Generator()
    made.transformer = part(weights, "transformer", variant)
    made.connectors = part(weights, "connectors", variant)
    return made


def text_encoder(weights: Weights) -> Path:
    """The folder of the text encoder and its tokenizer."""
    return weights.files("text_encoder")[0]
