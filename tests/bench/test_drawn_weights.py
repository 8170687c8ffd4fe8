"""Drawn weights: the same for a seed, finite through the whole graph, with a LoRA of their own."""

import pytest
import torch

from ltx2.drawn import drawn_engine
from ltx2.settings import Settings


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return engine_in(tmp_path_factory.mktemp("drawn"))


def engine_in(folder, seed=0):
    settings = Settings.from_env({})
    return drawn_engine(
        "tiny", device=torch.device("cpu"), settings=settings, scratch=folder, seed=seed
    )


def test_a_drawn_part_has_the_shapes_of_the_read_one_and_other_values(drawn, tiny_model):
    for name in ("transformer:distilled", "connectors:distilled", "vae", "vocoder"):
        made = drawn.components.part(name).state_dict()
        read = tiny_model.part(name).state_dict()
        assert {key: value.shape for key, value in made.items()} == {
            key: value.shape for key, value in read.items()
        }
        assert not all(torch.equal(made[key], read[key]) for key in made)


def test_a_seed_gives_the_same_weights_and_another_seed_others(drawn, tmp_path):
    first, again, other = (
        engine.components.part("connectors:distilled").state_dict()
        for engine in (drawn, engine_in(tmp_path), engine_in(tmp_path, seed=1))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_what_a_drawn_model_makes_is_finite_and_no_flat_colour(drawn):
    result = run(drawn, mode="fast")
    assert result.frames.std() > 1
    assert result.warnings == ()


def test_pro_runs_with_a_drawn_lora(drawn, tmp_path):
    run(drawn, mode="pro", num_inference_steps=1)
    assert (drawn.components._scratch / "distilled.safetensors").stat().st_size > 10_000


def run(engine, **fields):
    """A clip through the graph; a NaN anywhere would raise."""
    from contextlib import closing
    from types import SimpleNamespace

    import numpy as np

    import ltx2
    from ltx2.planner import plan
    from ltx2.progress import Progress
    from pipelines.values import Inputs

    request = ltx2.Request.parse(
        {"prompt": "a", "seed": 3, "width": 128, "height": 64, "num_frames": 9, **fields}
    )
    clip = engine.run(plan(request, checkpoint=engine.checkpoint), Inputs(), Progress())
    with closing(clip.frames):
        frames = np.concatenate(list(clip.frames))
    return SimpleNamespace(frames=frames, warnings=tuple(clip.warnings))
