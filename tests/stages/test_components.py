"""pipelines.components: parts come when they are used and stay as the residency says."""

import pytest
import torch

from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS


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


def test_an_offloaded_part_goes_to_the_device_and_comes_back_also_after_an_error(weights):
    model = Components(weights, residency="offload")
    moves = []
    part = model.part("vocoder")
    part.to = lambda device: moves.append(str(device))

    def fail():
        with model.using("vocoder"):
            assert moves == ["cpu"]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert moves == ["cpu", "cpu"]


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
