"""pipelines.upstream.spatial_tiling: every pixel once, in its place, no slivers, when it may go."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from pipelines.geometry import tile_spans
from pipelines.upstream.spatial_tiling import decode_in_space, ramp


def places(height, width):
    """A frame whose cells carry their own row and column."""
    rows = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float32)[None].expand(height, width)
    return torch.stack((rows, columns))[None, :, None]


def enlarge(latent):
    """Decodes a cell to 32x32 equal pixels."""
    return latent.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (13, 24), (34, 60), (22, 40)])
@pytest.mark.parametrize("tile", [(13, 24), (3, 4)])
def test_every_pixel_is_decoded_in_its_place(height, width, tile):
    decoded = decode_in_space(enlarge, places(height, width), tile, 2)
    torch.testing.assert_close(decoded, enlarge(places(height, width)))


@pytest.mark.parametrize("length", range(1, 80))
def test_tiles_cover_everything_and_none_is_a_sliver(length):
    spans = tile_spans(length, 13, 2)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(end - start <= 13 for start, end in spans)
    assert all(before[1] - after[0] == 2 for before, after in pairwise(spans))
    assert length <= 2 or min(end - start for start, end in spans) > 2


def test_neighbours_are_cross_faded():
    levels = iter((0.0, 1.0))

    def flat(latent):
        return torch.full((1, 1, 1, 32 * latent.shape[3], 32 * latent.shape[4]), next(levels))

    line = decode_in_space(flat, places(3, 6), (4, 4), 2)[0, 0, 0, 0]
    rising = line[(line > 0) & (line < 1)]
    assert len(rising) == 64
    assert torch.all(rising.diff() > 0)


def test_a_ramp_lies_strictly_between_its_ends():
    weights = ramp(3, torch.zeros(1))
    assert weights.tolist() == [0.25, 0.5, 0.75]


def test_stock_tiled_decode_still_makes_slivers():
    sizes = []

    def decoder(tile, temb, causal):
        sizes.append(tile.shape[3])
        return enlarge(tile)

    vae = SimpleNamespace(
        spatial_compression_ratio=32, decoder=decoder,
        tile_sample_min_height=416, tile_sample_min_width=768,
        tile_sample_stride_height=352, tile_sample_stride_width=704,
        blend_v=lambda a, b, n: AutoencoderKLLTX2Video.blend_v(None, a, b, n),
        blend_h=lambda a, b, n: AutoencoderKLLTX2Video.blend_h(None, a, b, n),
    )  # fmt: skip
    AutoencoderKLLTX2Video.tiled_decode(vae, places(34, 60), None)
    assert min(sizes) == 1
    assert min(end - start for start, end in tile_spans(34, 13, 2)) > 2
