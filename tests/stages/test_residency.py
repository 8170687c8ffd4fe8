"""pipelines.residency: parts visit the device, stream through it or are loaded for one use."""

import numpy as np
import pytest
import torch
from torch import nn

from ltx2.engine import Engine
from ltx2.request import Request
from ltx2.settings import Settings
from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.residency import home, on_device, streaming, streams, tables, visiting
from pipelines.upstream.block_streaming import block_list

CPU, META = torch.device("cpu"), torch.device("meta")
SMALL = {"prompt": "a red ball rolls left", "seed": 7, "width": 128, "height": 64, "num_frames": 9}


@pytest.fixture
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


def copied(tensor, _device):
    return tensor.detach().clone()


def hooks_of(part):
    return [
        name
        for module in part.modules()
        if (registry := getattr(module, "_diffusers_hook", None))
        for name in registry.hooks
    ]


@pytest.mark.parametrize(
    ("residency", "text", "rest"),
    [
        ("resident", "device", "device"),
        ("staged", "host", "device"),
        ("freed", "disk", "device"),
        ("offload", "host", "host"),
        ("stream", "host", "host"),
    ],
)
def test_where_parts_wait(residency, text, rest):
    assert {home(residency, name) for name in ("text_encoder", "connectors:dev")} == {text}
    assert {home(residency, name) for name in ("transformer:dev", "vae", "vocoder")} == {rest}
    assert home(residency, "tokenizer") == "device"
    streamed = {
        name for name in ("transformer:dev", "text_encoder", "vae") if streams(residency, name)
    }
    assert streamed == ({"transformer:dev", "text_encoder"} if residency == "stream" else set())


@pytest.mark.parametrize("name", ["transformer:dev", "text_encoder"])
def test_a_streamed_part_is_what_it_was_afterwards_also_after_an_error(weights, name):
    part = Components(weights).part(name)
    before = [(*entry, entry[2].data_ptr()) for entry in tables(part)]
    inside = []
    with pytest.raises(KeyError), streaming(part, CPU, move=copied):
        raise KeyError(inside.append(hooks_of(part)))
    assert inside == [["group_offloading"] * len(block_list(part))]
    for table, key, tensor, address in before:
        assert table[key] is tensor
        assert tensor.data_ptr() == address
    assert not hooks_of(part)


def test_the_blocks_are_the_largest_list_and_a_part_without_any_is_refused():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.ModuleList([nn.Linear(2, 2)] * 9)
            self.inner = nn.Module()
            self.inner.blocks = nn.ModuleList([nn.Linear(50, 50) for _ in range(2)])

    part = Part()
    assert block_list(part) is part.inner.blocks
    with pytest.raises(ValueError, match="Linear has no list of blocks"):
        block_list(nn.Linear(1, 1))


def test_what_lives_on_the_disk_is_loaded_for_each_use_and_empty_afterwards(weights):
    model = Components(weights, residency="freed")
    with model.using("text_encoder") as first:
        assert model.held == ("text_encoder",)
        assert len(list(first.parameters())) > 0
    assert model.held == ()
    assert list(first.parameters()) == []
    with model.using("text_encoder") as second:
        assert second is not first
    with pytest.raises(KeyError), model.using("connectors:dev"):
        raise KeyError
    assert model.held == ()


def test_a_part_of_the_device_is_handed_out_as_it_is(weights):
    part = Components(weights).part("vae")
    before = [tensor for _, _, tensor in tables(part)]
    with on_device("staged", "vae", part, META):
        assert all(a is b for a, (_, _, b) in zip(before, tables(part), strict=True))


def test_a_parameter_of_another_kind_keeps_its_kind():
    class Packed(nn.Parameter):
        pass

    layer = nn.Linear(2, 2)
    layer.weight = Packed(layer.weight.data, requires_grad=False)
    kinds = []
    with visiting(layer, CPU, move=lambda tensor, _: tensor):
        kinds.append(type(layer.weight))
    assert kinds == [Packed]


def test_another_residency_drops_only_what_lives_elsewhere_in_it(weights):
    model = Components(weights)
    for name in ("text_encoder", "connectors:dev", "vae"):
        model.part(name)
    model.live_as("staged")
    assert model.held == ("vae",)
    assert model.residency == "staged"
    model.live_as("offload")
    assert model.held == ()


@pytest.fixture(scope="module")
def exact(tiny):
    """The clip of a request with everything on the device, made once."""
    engine = Engine.load(str(tiny), settings=Settings.from_env({}))
    made = {}

    def generate(request):
        key = request.model_dump_json()
        if key not in made:
            made[key] = engine.generate(request)
        return made[key]

    return generate


@pytest.mark.slow
@pytest.mark.parametrize("residency", ["freed", "stream"])
@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_a_clip_is_the_same_bytes_in_every_residency(exact, tiny, residency, mode):
    """In pro with two LoRAs in the second pass; the second job finds them loaded."""
    steps = {"num_inference_steps": 2, "camera_motion": "dolly_in"} if mode == "pro" else {}
    request = Request(**SMALL, mode=mode, **steps)
    settings = Settings.from_env({"LTX2_RESIDENCY": residency})
    other = Engine.load(str(tiny), settings=settings)
    assert other.components.residency == residency
    plain = Request(**SMALL)
    for each in (request, request, plain) if mode == "pro" else (plain, plain):
        found = other.generate(each)
        assert np.array_equal(found.frames, exact(each).frames)
        assert np.array_equal(found.audio, exact(each).audio)
    assert not any(
        hooks_of(other.components.part(name)) for name in ("transformer:distilled", "vae")
    )
