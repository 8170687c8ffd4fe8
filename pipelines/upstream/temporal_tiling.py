"""Decoding a long clip in tiles of time, without shifting a frame.

What differs: `use_framewise_decoding` of diffusers drops the last frame of every tile after the
first and blends neighbours one frame apart, so most frames of a long clip are off by up to one. A
tile that starts at latent s > 0 decodes its first latent to one frame, pixel frame 8 s, which
belongs to the neighbour: the first frame has to go. The flag also changes the encoder.
Cure: our own loop, which yields frames as they become final and holds one tile and one overlap at
a time.
End: when `test_stock_framewise_decoding_still_shifts_frames` fails.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pipelines.geometry import TEMPORAL, tile_spans
from pipelines.upstream.spatial_tiling import DecodeTile, ramp


def decode_in_time(decode: DecodeTile, latent: Tensor, tile: int, overlap: int) -> Iterator[Tensor]:
    """Yield final pixels (1, 3, n, height, width), tile by tile, cross-faded over the overlaps.

    `decode` maps (1, C, n, h, w) to (1, 3, 8 (n - 1) + 1, H, W); `tile` and `overlap` are in latent
    frames.
    """
    held: Tensor | None = None  # tail of the previous tile, waiting for its neighbour
    spans = tile_spans(latent.shape[2], tile, overlap)
    for index, (start, end) in enumerate(spans):
        pixels = decode(latent[:, :, start:end])
        if start:
            pixels = pixels[:, :, 1:]
        if held is not None:
            fade = ramp(held.shape[2], pixels).view(1, 1, -1, 1, 1)
            count = held.shape[2]
            # In place: the tile is this loop's own, and a copy of it would be the fullest moment.
            with torch.inference_mode():
                pixels[:, :, :count] = held * (1 - fade) + pixels[:, :, :count] * fade
        if index + 1 < len(spans):
            # The neighbour starts at latent end - overlap and loses its first frame, so it covers
            # the latents after it.
            shared = (end - spans[index + 1][0] - 1) * TEMPORAL
            held = pixels[:, :, pixels.shape[2] - shared :].clone()  # a view would keep the tile
            pixels = pixels[:, :, : pixels.shape[2] - shared]
        yield pixels
        del pixels  # not beside the next tile
