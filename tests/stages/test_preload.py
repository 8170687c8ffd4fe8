"""Parts loaded several at once: the same weights, all errors together, and a clip to warm up."""

import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

import ltx2
from ltx2.engine import Engine
from ltx2.settings import Settings
from pipelines.checkpoints.building import assign, weightless
from pipelines.checkpoints.files import find
from pipelines.checkpoints.quantise import QUANTISATIONS, rounded
from pipelines.components import Components
from pipelines.models import CHECKPOINTS

FAST = (
    "transformer:distilled", "text_encoder", "tokenizer", "connectors:distilled",
    "spatial_upscaler", "audio_vae", "vocoder", "vae",
)  # fmt: skip
SMALL = {"prompt": "a red ball rolls left", "seed": 7, "width": 128, "height": 64, "num_frames": 9}


def opened(tiny, **variables):
    return Engine.load(str(tiny), settings=Settings.from_env(variables))


def state(part):
    return {**dict(part.named_parameters()), **dict(part.named_buffers())}


def same(one, other):
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name
        assert tensor.requires_grad == theirs[name].requires_grad, name


@pytest.fixture(scope="module")
def weights(tiny):
    return find(tiny, CHECKPOINTS["tiny"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_loaded_together_are_those_loaded_one_by_one(weights, dtype):
    for threads in (2, 8):
        together, alone = (Components(weights, dtype=dtype) for _ in range(2))
        seconds = together.load_together(FAST, threads=threads)
        assert set(seconds) == set(together.held) == set(FAST)
        for name in FAST:
            if name != "tokenizer":
                same(together.part(name), alone.part(name))
        assert together.load_together(FAST) == {}


def test_reading_is_safe_beside_a_thread_that_builds():
    """accelerate's way of building patches every module of the process meanwhile."""
    inside, done = threading.Event(), threading.Event()

    def build():
        with weightless():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=build)
    owner = nn.Linear(2, 2)
    thread.start()
    inside.wait(10)
    try:
        assert nn.Linear(2, 2).weight.device.type == "meta"  # what a second builder would get
        assign(owner, "weight", torch.ones(2, 2))
    finally:
        done.set()
        thread.join()
    assert torch.equal(owner.weight, torch.ones(2, 2))
    with pytest.raises(KeyError, match="neither a parameter nor a buffer other"):
        assign(owner, "other", torch.ones(1))


@pytest.mark.parametrize("kind", [kind for kind in QUANTISATIONS if kind != "none"])
def test_rounding_does_not_follow_the_default_type(kind):
    """Another thread sets it while it builds."""
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    exact = rounded(weight, kind).dequantize()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert torch.equal(rounded(weight, kind).dequantize(), exact)
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_cannot_be_loaded_is_told_at_once(weights, tmp_path):
    broken = weights
    for name in ("spatial_upscaler", "transformer:distilled"):
        file = tmp_path / f"{name.partition(':')[0]}.safetensors"
        file.write_bytes(b"no safetensors at all")
        broken = broken.with_file(name, file)
    model = Components(broken)
    with pytest.raises(ExceptionGroup) as raised:
        model.load_together(FAST)
    assert len(raised.value.exceptions) == 2
    assert model.held == ()


def test_an_engine_loads_what_a_mode_uses_and_then_starts_at_once(tiny):
    engine = opened(tiny)
    seconds = engine.preload(("fast",))
    assert set(seconds) == set(engine.components.held) == set(FAST)
    result = engine.generate(ltx2.Request(**SMALL))
    assert result.timings["load"] < 0.1
    assert set(engine.components.held) == set(FAST)


def test_both_modes_bring_both_transformers_and_the_distilled_lora(tiny):
    engine = opened(tiny)
    seconds = engine.preload(("fast", "pro"))
    assert {"transformer:dev", "transformer:distilled", "lora:distilled"} <= set(seconds)
    asked = ltx2.Request(**SMALL, mode="pro", num_inference_steps=2)
    assert (engine.generate(asked).frames == opened(tiny).generate(asked).frames).all()


def test_where_one_transformer_is_kept_the_first_mode_has_it(tiny):
    engine = opened(tiny)
    engine.components._keep_variants = False
    seconds = engine.preload(("pro", "fast"))
    assert "transformer:dev" in seconds
    assert "transformer:distilled" not in seconds


def test_what_lives_nowhere_between_clips_is_not_loaded(tiny):
    engine = opened(tiny, LTX2_RESIDENCY="freed")
    assert {"text_encoder", "connectors:distilled"}.isdisjoint(engine.preload(("fast",)))


def test_files_that_are_missing_are_named_before_anything_is_read(tiny):
    engine = opened(tiny)
    parts = dict(engine.components.weights.parts)
    parts.pop("spatial_upscaler")
    parts.pop("transformer:distilled")
    engine.components.weights = replace(engine.components.weights, parts=parts)
    with pytest.raises(ltx2.ConfigError, match="fast needs files that are not there: transformer"):
        engine.preload(("fast",))
    assert engine.components.held == ()


@pytest.mark.parametrize("mode", ["fast", "pro"])
def test_warming_up_leaves_parts_where_they_are(tiny, mode):
    engine = opened(tiny, LTX2_DEVICE_MEMORY_GIB="4")
    engine.components.live_as("staged")  # as for a usual clip of a large model
    engine.preload((mode,))
    before = {name: id(engine.components.part(name)) for name in engine.components.held}
    assert engine.warm(mode) > 0
    assert engine.components.residency == "staged"
    assert {name: id(engine.components.part(name)) for name in before} == before
