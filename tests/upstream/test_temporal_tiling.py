"""pipelines.upstream.temporal_tiling: no frame moves or is lost, the tile bounds the memory."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from pipelines.geometry import tile_spans
from pipelines.upstream.temporal_tiling import decode_in_time


def index_latent(latents):
    """A clip whose latent i carries the number i."""
    return torch.arange(latents, dtype=torch.float32).view(1, 1, -1, 1, 1)


def index_decoder(latent):
    """Decodes latent i to pixel frames 8 (i - 1) + 1 .. 8 i.

    The first of a tile is decoded to its last frame alone.
    """
    first = latent[0, 0, 0, 0, 0] * 8
    frames = (latent.shape[2] - 1) * 8 + 1
    return (first + torch.arange(frames, dtype=torch.float32)).view(1, 1, -1, 1, 1)


@pytest.mark.parametrize("latents", [1, 2, 9, 10, 11, 12, 16, 31, 61])
@pytest.mark.parametrize(("tile", "overlap"), [(10, 3), (4, 1), (3, 2)])
def test_every_frame_is_decoded_once_and_in_its_place(latents, tile, overlap):
    chunks = list(decode_in_time(index_decoder, index_latent(latents), tile, overlap))
    frames = torch.cat(chunks, dim=2).flatten()
    torch.testing.assert_close(frames, torch.arange((latents - 1) * 8 + 1, dtype=torch.float32))
    assert len(chunks) == len(tile_spans(latents, tile, overlap))


def test_neighbours_are_cross_faded_over_the_overlap():
    levels = iter((0.0, 1.0))

    def flat(latent):
        return torch.full((1, 1, (latent.shape[2] - 1) * 8 + 1, 1, 1), next(levels))

    frames = torch.cat(list(decode_in_time(flat, index_latent(16), 10, 3)), dim=2).flatten()
    rising = frames[(frames > 0) & (frames < 1)]
    assert len(rising) == 16
    assert torch.all(rising.diff() > 0)


def test_no_tile_is_larger_than_asked():
    assert max(end - start for start, end in tile_spans(61, 10, 3)) == 10


@pytest.mark.parametrize("overlap", [0, 10, 11])
def test_an_overlap_that_cannot_work_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_spans(61, 10, overlap)


def test_stock_framewise_decoding_still_shifts_frames():
    vae = SimpleNamespace(
        temporal_compression_ratio=8, spatial_compression_ratio=32, use_tiling=False,
        tile_sample_min_height=512, tile_sample_min_width=512, tile_sample_min_num_frames=80,
        tile_sample_stride_num_frames=56, decoder=lambda tile, temb, causal: index_decoder(tile),
        blend_t=lambda a, b, extent: AutoencoderKLLTX2Video.blend_t(None, a, b, extent),
    )  # fmt: skip
    frames = AutoencoderKLLTX2Video._temporal_tiled_decode(
        vae, index_latent(16), None
    ).sample.flatten()
    assert not torch.allclose(frames, torch.arange(121, dtype=torch.float32))
