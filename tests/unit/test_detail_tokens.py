"""The limit of video tokens on a generation's detail pass, which sees its clip twice. No torch."""

import pytest

from ltx2.errors import BadRequest, TooLarge
from ltx2.extent import Limits
from ltx2.planner import plan
from ltx2.request import Request

CELLS = (512 // 32) * (320 // 32)


def planned(checkpoint="ltx-2", tokens=None, downscale=1, **fields):
    values = {"width": 512, "height": 320, "num_frames": 57, "seed": 7, "detailer": True}
    return plan(
        Request(prompt="A red ball.", **{**values, **fields}),
        checkpoint=checkpoint,
        limits=Limits(max_tokens=tokens),
        reference_downscale=downscale,
    )


@pytest.mark.parametrize(
    ("frames", "downscale", "tokens"),
    [
        (57, 1, 14 * CELLS),  # 8 latent frames: windows of 7
        (49, 1, 14 * CELLS),
        (33, 1, 10 * CELLS),
        (49, 2, 7 * CELLS + 7 * CELLS // 4),
        (57, 2, 10 * CELLS + 4 * CELLS // 4),  # what is held of the window before is whole
    ],
)
def test_a_window_counts_with_what_it_follows(frames, downscale, tokens):
    options = {"num_frames": frames, "downscale": downscale, "width": 512, "height": 320}
    assert planned(tokens=tokens, **options).detail
    with pytest.raises(TooLarge, match=rf"detail pass is {tokens:,} video tokens at 512x320"):
        planned(tokens=tokens - 1, **options)


def test_a_clip_without_a_detailer_is_not_held_to_it():
    assert planned(tokens=8 * CELLS, detailer=False).detail is None


def test_the_limit_is_told_beside_what_else_is_wrong():
    with pytest.raises(BadRequest) as found:
        planned(checkpoint="ltx-2.3", tokens=CELLS)
    assert len(found.value.problems) == 3
    assert "there is no detailer for ltx-2.3" in found.value.problems[0]


def test_the_reference_has_tiles_of_the_encoder_where_it_is_smaller():
    smaller = planned(downscale=2).detail.encode
    assert smaller.overlap_frames > planned().decode.overlap_frames
    assert planned(downscale=1).detail.encode is None
