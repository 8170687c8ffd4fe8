"""GGUF transformers of every generation: the same velocity as from the safetensors file, within
what their types lose.
"""

from dataclasses import replace

import pytest
import torch

from pipelines.checkpoints.files import find
from pipelines.checkpoints.gguf import quantised_kinds
from pipelines.checkpoints.headers import CheckpointError, read_header
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from tests.parity.cases import VERSIONS, load
from tests.parity.test_modules import DEV, TEXT_WIDTH, velocity
from tests.stages import gguf_files

# Relative error of a velocity. The widths of 48 and 24 are no multiple of a block, so the types
# reach the second matrix of each feed-forward alone; half precision is everywhere.
ERROR = {"F16": 1e-3, "BF16": 1e-2, "Q8_0": 1e-2, "Q5_1": 0.05, "Q5_0": 0.05, "Q4_0": 0.1}
PREFIXES = {"2.0": "", "2.3": "model.diffusion_model.", "2.5": "diffusion_model."}


def off(ours, reference):
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize("kind", ERROR)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_gguf_transformer_gives_the_velocity_of_its_source(version, kind, checkpoints, tmp_path):
    source = checkpoints / version / f"{DEV[version]}.safetensors"
    file = tmp_path / f"{DEV[version]}-{kind}.gguf"
    gguf_files.write(file, source, kind, prefix=PREFIXES[version])
    header = read_header(file)
    assert quantised_kinds(header) == (kind if kind.startswith("Q") else "")
    weights = replace(find(source), text_width=TEXT_WIDTH)
    assert find(file).generation == weights.generation
    assert set(find(file).parts) == {"transformer:dev"}
    case = load(version, "transformer")
    exact = velocity(Components(weights), case)
    ours = velocity(Components(weights.with_file("transformer:dev", file)), case)
    for mine, reference in zip(ours, exact, strict=True):
        assert torch.isfinite(mine).all()
        assert off(mine, reference) < ERROR[kind]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_generation_is_told_by_the_tensors_where_the_file_does_not_say_it(
    version, checkpoints, tmp_path
):
    source = checkpoints / version / f"{DEV[version]}.safetensors"
    file = gguf_files.write(tmp_path / f"{DEV[version]}.gguf", source, "Q8_0", version=False)
    assert find(file).generation.name == version


def test_a_transformer_of_another_generation_is_refused(checkpoints, tmp_path):
    source = checkpoints / "2.3" / f"{DEV['2.3']}.safetensors"
    file = gguf_files.write(tmp_path / "some-dev.gguf", source, "Q8_0")
    for path in (file, checkpoints / "2.0"):
        with pytest.raises(CheckpointError, match=r"of LTX-2\.3, the checkpoint is LTX-2\.0"):
            find(path, CHECKPOINTS["ltx-2"], transformer=file)
