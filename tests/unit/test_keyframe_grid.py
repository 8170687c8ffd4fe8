"""Segments and tiles of a temporal round, against diffusers' own layout of the same reference."""

import pytest

from pipelines.keyframe_grid import tiles_between, whole_segments

LENGTHS = [8 * k + 1 for k in range(1, 62)]


@pytest.mark.parametrize("frames", LENGTHS)
def test_segments_are_those_of_the_reference(frames):
    layout = pytest.importorskip("diffusers.pipelines.ltx2.dfr_layout", reason="needs diffusers")
    padded, _, positions = layout.resolve_canvas(frames)
    grid = whole_segments(frames)
    assert (grid.frames, list(grid.slots)) == (padded, positions)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("frames", LENGTHS[::5])
def test_tiles_are_those_of_the_reference(frames, count):
    layout = pytest.importorskip("diffusers.pipelines.ltx2.dfr_layout", reason="needs diffusers")
    grid = whole_segments(frames)
    known = tuple(2 * frame for frame in grid.slots)
    expected = layout.temporal_tile_plan(list(known), 2 * grid.frames - 1, count)
    ours = tiles_between(known, count)
    assert [(t.start, t.end, t.drop, t.anchors, t.slots) for t in ours] == [
        (t.interval.start, t.interval.end, t.interval.left_ramp, t.anchors, t.slots)
        for t in expected
    ]


def test_a_clip_is_padded_least_and_by_long_segments_where_both_fit():
    assert whole_segments(97).slots == (32, 64, 96)
    assert whole_segments(121).slots == (24, 48, 72, 96, 120)
    assert whole_segments(113).frames == 121


@pytest.mark.parametrize("frames", [1, 8, 10])
def test_a_length_without_segments_is_refused(frames):
    with pytest.raises(ValueError, match="no segments"):
        whole_segments(frames)
