"""Every file of the pack: its names lead to diffusers and back, its config to the same module."""

import inspect
import json
from dataclasses import replace

import pytest
import torch

from pipelines.checkpoints import keys
from pipelines.checkpoints.configs import diffusers_config
from pipelines.checkpoints.files import find
from pipelines.checkpoints.headers import read_header
from pipelines.checkpoints.load import component_shapes, load
from pipelines.models import CHECKPOINTS
from tests.parity import maker
from tests.parity.cases import VERSIONS

COMPONENTS = ("transformer", "connectors", "vae", "audio_vae", "vocoder")
DEV = {"2.0": "ltx-2-19b-dev", "2.3": "ltx-2.3-22b-dev", "2.5": "ltx-2.5-22b-dev"}
TEXT_WIDTH = 20
WANTED = json.loads((maker.DATA / "diffusers_configs.json").read_text())
UPSCALERS = sorted(WANTED["LTX2LatentUpsamplerModel"])
FULL = [name for name in maker.table()["files"] if "lora" not in name]


def component(file, key):
    if "upscaler" in file:
        return f"{'temporal' if 'temporal' in file else 'spatial'}_upscaler"
    found = keys.component_of(key)
    diffusion = file == "ltx-2.5-video-vae-bf16.safetensors"
    return "diffusion_decoder" if diffusion and key.startswith("decoder.") else found


@pytest.mark.parametrize("file", FULL)
def test_every_name_leads_to_diffusers_and_back(file, checkpoints):
    version = next(v for v in VERSIONS if file in maker.files_of(v))
    names = read_header(checkpoints / version / file).tensors
    assert names
    for key in names:
        part = component(file, key)
        assert part is not None, key
        pieces = keys.targets(part, key)
        assert pieces, key
        for piece in pieces:
            assert keys.to_original(part, piece) in (key, f"vae.{key}")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_configurations_are_those_of_the_pack(version, checkpoints):
    weights = find(checkpoints / version / f"{DEV[version]}.safetensors")
    parts = [(name, f"{DEV[version]}.safetensors") for name in COMPONENTS]
    if version == "2.5":
        parts.append(("diffusion_decoder", "ltx-2.5-video-vae-bf16.safetensors"))
    assert weights.generation.name == version
    for name, file in parts:
        header = read_header(checkpoints / version / file)
        cls = type(load(replace(weights, text_width=TEXT_WIDTH), name, variant="dev"))
        shapes = component_shapes(name, [header])
        ours = diffusers_config(name, header.config, shapes, text_width=TEXT_WIDTH)
        assert arguments(cls, ours) == arguments(cls, WANTED[version][cls.__name__]), name


@pytest.mark.parametrize("file", UPSCALERS)
def test_the_upscalers_configurations_are_those_of_the_pack(file, checkpoints):
    version = next(v for v in VERSIONS if file in maker.files_of(v))
    path = checkpoints / version / file
    name = component(file, "")
    header = read_header(path)
    ours = diffusers_config(name, header.config, component_shapes(name, [header]))
    weights = find(checkpoints / version / f"{DEV[version]}.safetensors").with_file(name, path)
    cls = type(load(weights, name))
    assert arguments(cls, ours) == arguments(cls, WANTED["LTX2LatentUpsamplerModel"][file])


def arguments(cls, given):
    """All constructor arguments, the defaults included, as JSON types."""
    parameters = inspect.signature(cls.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name != "self"}
    assert set(given) <= set(defaults)
    return json.loads(json.dumps({**defaults, **given}))


def test_the_split_files_of_2_5_hold_the_same_model(checkpoints, tmp_path):
    for name in maker.files_of("2.5"):
        if name != "ltx-2.5-22b-dev.safetensors" and "lora" not in name:
            (tmp_path / name).symlink_to(checkpoints / "2.5" / name)
    split = replace(find(tmp_path, CHECKPOINTS["ltx-2.5"]), text_width=TEXT_WIDTH)
    whole = find(checkpoints / "2.5" / "ltx-2.5-22b-dev.safetensors")
    whole = replace(whole, text_width=TEXT_WIDTH)
    assert len(split.files("connectors", "dev")) == 2
    for name in COMPONENTS:
        ours = load(split, name, variant="dev").state_dict()
        for key, tensor in load(whole, name, variant="dev").state_dict().items():
            assert torch.equal(ours[key], tensor), key
