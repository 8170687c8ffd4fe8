"""The cost model counts what torch counts, on every generation's real architecture."""

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Gemma3TextConfig, Gemma3TextModel

from benchmarks.cost import latents, text
from benchmarks.cost.transformer import Lengths, forward
from pipelines.memory.released import RELEASED, released_module
from pipelines.models import GENERATIONS

LAYERS = 2
LENGTHS = Lengths(video=2 * 3 * 4, audio=11, text=96)
# Widths that all differ, so that none stands for another; torch's mask needs values, not shapes.
GEMMA = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "num_hidden_layers": 2,
}
CALLS = {
    "plain": ({}, {}),
    "isolated": ({"isolate_modalities": True}, {"isolated": True}),
    "perturbed": ({"spatio_temporal_guidance_blocks": [1]}, {"perturbed": 1}),
    "a timestep a token": ({}, {"timesteps": LENGTHS.video}),
}


def counted(work):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops()


def empty(*shape):
    return torch.zeros(*shape, device="meta")


@pytest.fixture(scope="module", params=["2.0", "2.3", "2.5"])
def generation(request):
    return GENERATIONS[request.param]


def built(generation, component):
    """A part of a released model; of equal blocks of a transformer a few, as they cost alike."""
    if component != "transformer":
        with torch.device("meta"):
            return released_module(generation, component).eval()
    options = RELEASED[generation.name][component] | {"num_layers": LAYERS}
    with torch.device("meta"):
        return LTX2VideoTransformer3DModel(**options).eval()


def test_a_forward_costs_what_torch_counts(generation):
    model = built(generation, "transformer")
    config = model.config
    width = config.caption_channels if config.use_prompt_embeddings else None
    for name, (call, cost) in CALLS.items():
        rows = LENGTHS.video if "timesteps" in cost else 1
        found = counted(
            lambda rows=rows, call=call: model(
                hidden_states=empty(1, LENGTHS.video, 128),
                audio_hidden_states=empty(1, LENGTHS.audio, 128),
                encoder_hidden_states=empty(1, LENGTHS.text, width or 4096),
                audio_encoder_hidden_states=empty(1, LENGTHS.text, width or 2048),
                timestep=empty(1, rows),
                audio_timestep=empty(1, 1),
                sigma=empty(1),
                audio_sigma=empty(1),
                num_frames=2,
                height=3,
                width=4,
                audio_num_frames=LENGTHS.audio,
                **call,
            )
        )
        assert forward(config, LENGTHS, **cost).total == found, name


def test_the_connectors_cost_what_torch_counts(generation):
    model = built(generation, "connectors")
    tokens = 1024
    features = model.config.caption_channels
    hidden = torch.zeros(1, tokens, features, model.config.text_proj_in_factor, device="meta")
    mask = empty(1, tokens)
    holders = [each for each in model.modules() if hasattr(each, "learnable_registers")]
    for module in holders:  # where they go is asked of values, which meta has none of
        module.learnable_registers = None
    found = counted(lambda: model(hidden, mask, padding_side="left"))
    assert text.connectors(model.config, tokens).total == found


def test_the_decoder_costs_what_torch_counts(generation):
    model = built(generation, "vae")
    size = (3, 4, 5)
    found = counted(lambda: model.decode(empty(1, 128, *size), return_dict=False))
    assert latents.decoder(model.config, *size).total == found


@pytest.mark.parametrize("upscaler", ["spatial_upscaler", "temporal_upscaler"])
def test_an_upscaler_costs_what_torch_counts(generation, upscaler):
    model = built(generation, upscaler)
    found = counted(lambda: model(empty(1, 128, 3, 4, 5)))
    assert latents.upscaler(model.config, 3, 4, 5).total == found


def test_the_text_encoder_costs_what_torch_counts():
    config = Gemma3TextConfig(**GEMMA, attn_implementation="eager")  # as products that are counted
    model = Gemma3TextModel(config).eval()
    ids = torch.zeros(1, 64, dtype=torch.long)
    mask = torch.ones(1, 64, dtype=torch.long)
    found = counted(lambda: model(input_ids=ids, attention_mask=mask, use_cache=False))
    assert text.encoder(model.config, 64).total == found


def test_tiles_cost_more_than_the_whole_and_one_tile_costs_the_same():
    config = built(GENERATIONS["2.3"], "vae").config
    whole = latents.decoder(config, 16, 22, 40)
    once = latents.decoder_in_tiles(config, (16, 22, 40), (16, 24, 40), (3, 2, 2))
    tiled = latents.decoder_in_tiles(config, (16, 22, 40), (10, 24, 24), (3, 2, 2))
    assert once == whole
    assert 1.1 < tiled.total / whole.total < 2
