"""pipelines.components: parts come when they are used and stay as the residency says."""

import pytest
import torch

from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.residency import visiting


@pytest.fixture
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


def held(model):
    return sorted(model._parts)


def test_nothing_is_loaded_before_it_is_used_and_then_once(weights):
    model = Components(weights)
    assert held(model) == []
    assert model.part("vae") is model.part("vae")
    assert held(model) == ["vae"]


def test_one_transformer_is_held_at_a_time(weights):
    model = Components(weights)
    with model.using_transformer("distilled", ()):
        pass
    with model.using_transformer("dev", ()):
        assert held(model) == ["transformer:dev"]


def test_both_are_kept_where_there_is_room(weights):
    model = Components(weights, keep_variants=True)
    model.part("transformer:dev"), model.part("transformer:distilled")
    assert held(model) == ["transformer:dev", "transformer:distilled"]


@pytest.mark.parametrize("residency", ["offload", "staged"])
def test_a_part_of_host_memory_visits_the_device_and_is_whole_afterwards(weights, residency):
    """ "meta" stands for a GPU: it keeps no data, so what comes back whole was never moved."""
    model = Components(weights, device="meta", residency=residency)
    name = "connectors:dev"
    part = model.part(name)
    before = {key: value.clone() for key, value in part.state_dict().items()}
    with pytest.raises(KeyError, match="True"), model.using(name) as used:
        raise KeyError({p.device.type for p in used.parameters()} == {"meta"})
    assert all(torch.equal(value, before[key]) for key, value in part.state_dict().items())


def test_a_part_that_does_not_fit_is_whole_afterwards(weights):
    part = Components(weights).part("vocoder")
    *_, last = part.parameters()
    moved = []

    def to(tensor, _device):
        moved.append(tensor)
        if tensor.data_ptr() == last.data_ptr():
            raise torch.OutOfMemoryError
        return tensor.to("meta")

    with pytest.raises(torch.OutOfMemoryError), visiting(part, torch.device("meta"), move=to):
        pytest.fail("the block must not run")
    assert len(moved) > 1
    assert {p.device.type for p in part.parameters()} == {"cpu"}


def test_tied_weights_move_once():
    tied = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    tied[1].weight = tied[0].weight
    moved = []
    with visiting(tied, torch.device("meta"), move=lambda t, d: moved.append(t) or t.to(d)):
        assert tied[1].weight is tied[0].weight
    assert len(moved) == 3
    assert tied[1].weight is tied[0].weight


def test_parts_from_the_same_file_are_one_part(weights):
    model = Components(weights)
    same = weights.with_file("connectors:dev", *weights.files("connectors", "distilled"))
    assert Components(same).key("connectors:dev") == "connectors:distilled"
    assert model.key("transformer:dev") == "transformer:dev"


def test_a_resident_part_is_never_moved(weights):
    model = Components(weights)
    part = model.part("vocoder")
    part.to = None  # calling it would raise
    with model.using("vocoder") as used:
        assert used is part


def test_only_the_sound_stays_float32_in_another_precision(weights):
    model = Components(weights, dtype=torch.bfloat16)
    kinds = {
        name: model.part(name).dtype for name in ("vae", "audio_vae", "vocoder", "transformer:dev")
    }
    assert kinds == {
        "vae": torch.bfloat16,
        "audio_vae": torch.float32,
        "vocoder": torch.float32,
        "transformer:dev": torch.bfloat16,
    }
    assert model.part("vae").latents_std.dtype == torch.float32
