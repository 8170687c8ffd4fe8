"""Decoding a large frame in tiles of rows and columns.

What differs: `tiled_decode` of diffusers goes on past the tile that reaches the edge, so the last
tile can be a sliver of one cell. It costs a decode, and where the decoder pads by reflection
(LTX-2.0) it fails: 1920x1088 in the reference's tiles leaves a row of one cell. It also keeps every
tile of a frame until all are decoded.
Cure: our own loop, whose last tile is always longer than the overlap.
End: when `test_stock_tiled_decode_still_makes_slivers` fails.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipelines.geometry import SPATIAL, tile_spans

DecodeTile = Callable[[Tensor], Tensor]


def decode_in_space(
    decode: DecodeTile, latent: Tensor, tile: tuple[int, int], overlap: int
) -> Tensor:
    """Pixels of a latent (1, C, n, h, w), decoded in tiles and cross-faded.

    `tile` is (rows, columns) and `overlap` the cells that neighbours share. `decode` maps
    (1, C, n, h, w) to (1, 3, frames, 32 h, 32 w).
    """
    rows = tile_spans(latent.shape[3], tile[0], overlap)
    columns = tile_spans(latent.shape[4], tile[1], overlap)
    return joined(
        (
            joined(
                (decode(latent[..., top:bottom, left:right]) for left, right in columns),
                overlap * SPATIAL,
                dim=4,
            )
            for top, bottom in rows
        ),
        overlap * SPATIAL,
        dim=3,
    )


def ramp(count: int, like: Tensor) -> Tensor:
    """`count` weights strictly between 0 and 1 that rise evenly."""
    return torch.arange(1, count + 1, device=like.device, dtype=like.dtype) / (count + 1)


def joined(tiles: Iterable[Tensor], overlap: int, dim: int) -> Tensor:
    """Tiles side by side along `dim`, each faded into the next over `overlap` pixels."""
    joined: Tensor | None = None
    for tile in tiles:
        if joined is None:
            joined = tile
            continue
        shape = [1] * tile.ndim
        shape[dim] = -1
        fade = ramp(overlap, tile).view(shape)
        before, shared = joined.split((joined.shape[dim] - overlap, overlap), dim)
        shares, after = tile.split((overlap, tile.shape[dim] - overlap), dim)
        joined = torch.cat((before, shared * (1 - fade) + shares * fade, after), dim)
    if joined is None:
        raise ValueError("there is no tile to join")
    return joined
