"""Tensor names lead from the original files to diffusers and back."""

import pytest

from pipelines.checkpoints import keys
from tests.stages import originals as made
from tests.stages.originals import GENERATIONS, MONOLITH


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("component", MONOLITH)
def test_every_tensor_finds_its_original_name_and_back(component, version):
    module = made.SAMPLES[component](version).module
    for name in module.state_dict():
        original = keys.to_original(component, name)
        assert keys.component_of(original) == component
        assert keys.targets(component, original) == (name,)
    named = {keys.to_original(component, name) for name in module.state_dict()}
    assert len(named) == len(module.state_dict())


@pytest.mark.parametrize("component", ["diffusion_decoder", "duration_head"])
def test_shared_tensors_are_cut_into_query_key_and_value(component):
    module = getattr(made, component)().module
    pieces = [
        name
        for original in {keys.to_original(component, name) for name in module.state_dict()}
        for name in keys.targets(component, original)
    ]
    assert sorted(pieces) == sorted(module.state_dict())
    fused = next(n for n in made.originals(component, module) if "qkv" in n or "in_proj" in n)
    assert len(keys.targets(component, fused)) == 3


def test_a_video_vae_is_read_with_and_without_its_prefix():
    bare = "decoder.up_blocks.7.conv.conv.weight"
    assert keys.targets("vae", bare) == ("decoder.up_blocks.3.upsamplers.0.conv.conv.weight",)
    assert keys.targets("vae", f"vae.{bare}") == keys.targets("vae", bare)


def test_other_statistics_than_the_two_in_use_are_dropped():
    assert keys.targets("vae", "vae.per_channel_statistics.mean-of-stds") == ()
    assert keys.targets("vae", "per_channel_statistics.std-of-means") == ("latents_std",)


def test_a_key_of_another_component_is_refused():
    with pytest.raises(ValueError, match="not of the transformer"):
        keys.targets("transformer", "model.diffusion_model.video_embeddings_connector.x")
    with pytest.raises(ValueError, match=r"start with 'vocoder\.'"):
        keys.targets("vocoder", "conv_pre.weight")
    with pytest.raises(ValueError, match="is not a component"):
        keys.to_original("unet", "conv_in.weight")
