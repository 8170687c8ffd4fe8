"""pipelines.residency: parts visit the device, stream through it or are loaded for one use."""

import pytest
import torch

from pipelines.checkpoints.files import find
from pipelines.components import Components
from pipelines.models import CHECKPOINTS
from pipelines.residency import streaming, tables

CPU = torch.device("cpu")


@pytest.fixture
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


def copies(tensor, _device):
    return tensor.detach().clone()


@pytest.mark.parametrize("name", ["transformer:dev", "text_encoder"])
def test_a_streamed_part_is_what_it_was_afterwards_also_after_an_error(weights, name):
    part = Components(weights).part(name)
    before = [(table, key, tensor, tensor.data_ptr()) for table, key, tensor in tables(part)]
    with pytest.raises(KeyError), streaming(part, CPU, move=copies):
        assert any(tensor is not old for (_, _, tensor), (_, _, old, _) in zip(tables(part), before))
        raise KeyError
    for table, key, tensor, address in before:
        assert table[key] is tensor
        assert tensor.data_ptr() == address
    assert not any(getattr(m, "_diffusers_hook", None) and m._diffusers_hook.hooks for m in part.modules())
