"""pipelines.upstream.keyframe_position: appended pictures sit at their pixel frame.

References sit on the clip's grid.
"""

import inspect

import torch
from diffusers import LTX2ConditionPipeline

from pipelines.upstream.keyframe_position import appended_positions
from pipelines.values import Placed


def test_a_picture_covers_one_pixel_frame_in_seconds(build):
    placed = Placed(latent=torch.zeros(1, 128, 1, 2, 3), strength=1.0, frame=48, append=True)
    grid = appended_positions(build("2.0"), placed, 24.0)
    assert grid.shape == (1, 3, 6, 2)
    torch.testing.assert_close(grid[0, 0], torch.tensor([[2.0, 49 / 24]]).expand(6, 2))
    assert grid[0, 1, :, 0].tolist() == [0, 0, 0, 32, 32, 32]
    assert grid[0, 2, :, 1].tolist() == [32, 64, 96, 32, 64, 96]


def test_a_reference_lies_on_the_grid_of_the_clip_it_is_smaller_than(build):
    model = build("2.0")
    small = Placed(
        latent=torch.zeros(1, 128, 3, 1, 2),
        strength=1.0,
        frame=0,
        append=True,
        reference=True,
        downscale=2,
    )
    grid = appended_positions(model, small, 24.0)
    clip = model.rope.prepare_video_coords(1, 3, 2, 4, torch.device("cpu"), fps=24.0)
    assert torch.equal(grid[0, 0].unique(), clip[0, 0].unique())
    assert grid[0, 2].max() == clip[0, 2].max() == 128


def test_stock_index_still_counts_latents():
    # Reads the source: running it would take a whole pipeline. Any rewrite of the line fails here.
    assert "(latent_idx - 1) * frame_scale_factor + 1" in inspect.getsource(
        LTX2ConditionPipeline.prepare_latents
    )
