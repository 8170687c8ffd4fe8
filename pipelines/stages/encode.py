"""Frames of a video to latents, window after window: memory is bounded whatever the length."""

from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch import Tensor

from pipelines.components import Components
from pipelines.geometry import SPATIAL, TEMPORAL, latent_frames, pixel_frames, tile_spans
from pipelines.plan import DecodePlan
from pipelines.stages.decode import untiled
from pipelines.tokens import normalise_video
from pipelines.upstream.spatial_tiling import DecodeTile, joined
from pipelines.values import NonFinite, Progress

_SCALED_AT_ONCE = 8  # frames


@torch.inference_mode()
def encode_video(
    model: Components,
    chunks: Iterator[np.ndarray],
    *,
    frames: int,
    width: int,
    height: int,
    tiles: DecodePlan,
    progress: Progress | None = None,
) -> Tensor:
    """Chunks of uint8 (n, h, w, 3) to a normalised latent (1, 128, F, height / 32, width / 32).

    `frames` is 8 (F - 1) + 1 and what `chunks` give in all; `width` and `height` are multiples of
    32, to which frames of another size are scaled. One window of `tiles.tile_frames` is in memory
    at a time. The encoder looks back in time only, so a window after the first starts
    `tiles.overlap_frames` early and its latents up to there are dropped; larger frames than a tile
    are encoded in tiles that are cross-faded. Where one window and one tile suffice, it is the one
    whole encode. Each window is a step of `progress`. Raises ValueError for another number of
    frames, NonFinite for broken latents.
    """
    spans = encode_spans(frames, tiles)
    cells = (tiles.tile_height // SPATIAL, tiles.tile_width // SPATIAL)
    pieces: list[Tensor] = []
    with model.using("vae") as vae, untiled(vae):

        def encode_tile(pixels: Tensor) -> Tensor:
            scaled = pixels.to(model.device).float().div_(127.5).sub_(1).to(vae.dtype)
            return vae.encode(scaled).latent_dist.mode().float()

        done = 0
        scaled = scaled_frames(chunks, width, height, model.device)
        for (start, end), window in zip(spans, _windows(scaled, spans), strict=True):
            pixels = torch.from_numpy(window).permute(3, 0, 1, 2)[None]
            latent = encode_in_space(encode_tile, pixels, cells, tiles.overlap // SPATIAL)
            pieces.append(latent[:, :, done - start :])
            done = end
            if progress is not None:
                progress.step()
        latent = normalise_video(vae, torch.cat(pieces, dim=2))
    if not torch.isfinite(latent).all():
        raise NonFinite("encode: the latents of the video are not finite")
    return latent


def encode_spans(frames: int, tiles: DecodePlan) -> list[tuple[int, int]]:
    """Latent frames [start, end) of the windows, each with the run-up it shares with its
    neighbour.
    """
    run_up = tiles.overlap_frames // TEMPORAL + 1  # its first latent holds a single frame
    return tile_spans(latent_frames(frames), tiles.tile_frames // TEMPORAL, run_up)


def encode_in_space(
    encode: DecodeTile, pixels: Tensor, tile: tuple[int, int], overlap: int
) -> Tensor:
    """Latents of pixels (1, 3, n, 32 h, 32 w), encoded in tiles and cross-faded.

    `tile` is (rows, columns) and `overlap` what neighbours share, in latent cells.
    """
    rows = tile_spans(pixels.shape[3] // SPATIAL, tile[0], overlap)
    columns = tile_spans(pixels.shape[4] // SPATIAL, tile[1], overlap)
    return joined(
        (
            joined(
                (
                    encode(_cells(_cells(pixels, top, bottom, 3), left, right, 4))
                    for left, right in columns
                ),
                overlap,
                dim=4,
            )
            for top, bottom in rows
        ),
        overlap,
        dim=3,
    )


def _cells(pixels: Tensor, start: int, end: int, dim: int) -> Tensor:
    return pixels.narrow(dim, start * SPATIAL, (end - start) * SPATIAL)


def scaled_frames(
    chunks: Iterator[np.ndarray], width: int, height: int, device: torch.device
) -> Iterator[np.ndarray]:
    """The same frames at another size: bicubic, over the area of each pixel where they shrink."""
    for chunk in chunks:
        if chunk.shape[1:3] == (height, width):
            yield chunk
            continue
        for at in range(0, len(chunk), _SCALED_AT_ONCE):
            part = np.ascontiguousarray(chunk[at : at + _SCALED_AT_ONCE])
            pixels = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).float()
            pixels = torch.nn.functional.interpolate(
                pixels, size=(height, width), mode="bicubic", antialias=True
            )
            pixels = pixels.round_().clamp_(0, 255).to(torch.uint8)
            yield pixels.permute(0, 2, 3, 1).cpu().numpy()


def _windows(frames: Iterator[np.ndarray], spans: list[tuple[int, int]]) -> Generator[np.ndarray]:
    """The pixel frames of each window, uint8 (n, h, w, 3)."""
    held, first = [next(frames, np.empty((0, 0, 0, 3), np.uint8))], 0
    for start, end in spans:
        window, first = np.concatenate(held)[start * TEMPORAL - first :], start * TEMPORAL
        held, count = [window], len(window)
        while count < pixel_frames(end - start):
            chunk = next(frames, None)
            if chunk is None:
                raise ValueError(f"the video ended after {first + count} frames")
            held.append(chunk)
            count += len(chunk)
        held = [np.concatenate(held)]
        yield held[0][: pixel_frames(end - start)]
    if first + len(held[0]) > pixel_frames(spans[-1][1]) or next(frames, None) is not None:
        raise ValueError(f"the video goes on after its {pixel_frames(spans[-1][1])} frames")
