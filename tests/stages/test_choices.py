"""What the settings offer is what the layers below take."""

from typing import get_args

import torch

from ltx2 import settings
from pipelines import components


def test_the_settings_offer_the_residencies_that_components_have():
    assert get_args(settings.Residency) == get_args(components.Residency)


def test_every_dtype_of_the_settings_is_a_floating_type_of_torch_by_that_name():
    offered = [getattr(torch, name) for name in get_args(settings.Dtype)]
    assert all(dtype.is_floating_point for dtype in offered)
    assert torch.float16 not in offered, "the text encoder overflows in it"
