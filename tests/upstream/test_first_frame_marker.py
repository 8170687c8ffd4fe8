"""pipelines.upstream.first_frame_marker: the mask, its effect, and the day it may go."""

import inspect

import torch
from diffusers import LTX2ConditionPipeline

from pipelines.upstream.first_frame_marker import first_frame_marker


def test_only_generations_with_the_embedding_are_marked(build):
    tokens = torch.zeros(1, 18, 128)
    assert first_frame_marker(build("2.3"), tokens, 6) is None
    mask = first_frame_marker(build("2.5"), tokens, 6)
    assert mask is not None
    assert mask.shape == (1, 18, 1)
    assert mask[0, :6].eq(1).all()
    assert mask[0, 6:].eq(0).all()


def test_the_marker_changes_the_output(build, call):
    model = build("2.5")
    mask = first_frame_marker(model, torch.zeros(1, 18, 128), 6)
    plain, marked = call(model), call(model, video_keyframes_mask=mask)
    assert float((plain[0] - marked[0]).abs().max()) > 1e-3


def test_stock_pipeline_still_passes_no_marker():
    # Reads the source: running it would take a whole pipeline. Any rewrite of the line fails here.
    assert "video_keyframes_mask" not in inspect.getsource(LTX2ConditionPipeline.__call__)
