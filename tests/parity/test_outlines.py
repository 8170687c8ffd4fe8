"""Without weights, a component of every generation is as large as with them."""

import pytest
import torch

from pipelines.checkpoints.files import find
from pipelines.checkpoints.load import load
from pipelines.memory.outline import outlines_of, tensor_bytes
from tests.parity.cases import VERSIONS
from tests.parity.maker import files_of

COMPONENTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
TEXT_WIDTH = 20


@pytest.mark.parametrize("version", VERSIONS)
def test_an_outline_is_as_large_as_the_loaded_component(checkpoints, version):
    from dataclasses import replace

    (name,) = [file for file in files_of(version) if file.endswith("b-dev.safetensors")]
    weights = replace(find(checkpoints / version / name), text_width=TEXT_WIDTH)
    outlines = outlines_of(weights, dtype=torch.float32)
    for component in COMPONENTS:
        loaded = load(weights, component, variant="dev")
        assert outlines.size(component, "dev").whole == tensor_bytes(loaded), component
