"""The convolutions around the latents: the video decoder and the upscalers."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.cost.work import Work, convolution

_STRIDES = {"spatiotemporal": (2, 2, 2), "temporal": (2, 1, 1), "spatial": (1, 2, 2)}


def decoder(config: Mapping[str, Any], frames: int, height: int, width: int) -> Work:
    """Latent frames, rows and columns to pixels, in one piece."""
    channels = list(reversed(config["decoder_block_out_channels"]))
    layers = list(reversed(config["decoder_layers_per_block"]))
    factors = list(reversed(config["upsample_factor"]))
    scaled = list(reversed(config["decoder_spatio_temporal_scaling"]))
    now, places = channels[0], frames * height * width
    work = convolution(places, config["latent_channels"], now)
    work += convolution(places, now, now) * (2 * layers[0])
    for index, kind in enumerate(config["upsample_type"]):
        out = channels[index] // factors[index]
        entering = now // factors[index]
        if entering != out:  # a residual block of its own, with a shortcut, changes the width first
            work += convolution(places, now, out) + convolution(places, out, out)
            work += convolution(places, now, out, kernel=1)
            entering = out
        if scaled[index]:
            times, rows, columns = _STRIDES[kind]
            before = entering * factors[index]
            work += convolution(places, before, entering * times * rows * columns)
            frames, height, width = frames * times - (times - 1), height * rows, width * columns
            places = frames * height * width
        work += convolution(places, out, out) * (2 * layers[index + 1])
        now = out
    return work + convolution(places, now, config["out_channels"] * config["patch_size"] ** 2)


def decoder_in_tiles(
    config: Mapping[str, Any],
    size: tuple[int, int, int],
    tile: tuple[int, int, int],
    overlap: tuple[int, int, int],
) -> Work:
    """The same in overlapping tiles: frames, rows and columns of latents, in every argument."""
    lengths = [list(spans(*each)) for each in zip(size, tile, overlap, strict=True)]
    return sum(
        (
            decoder(config, frames, rows, columns)
            for frames in lengths[0]
            for rows in lengths[1]
            for columns in lengths[2]
        ),
        Work(),
    )


def spans(length: int, tile: int, overlap: int) -> Iterator[int]:
    """Lengths of the tiles that cover `length` cells; the last may be shorter."""
    start = 0
    while True:
        end = min(start + tile, length)
        yield end - start
        if end == length:
            return
        start = end - overlap


def upscaler(config: Mapping[str, Any], frames: int, height: int, width: int) -> Work:
    """Latents to twice the rows and columns, or to twice the frames.

    Raises ValueError for the upscaler of 1.5, which no clip of the benchmarks runs.
    """
    if config["use_rational_resampler"]:
        raise ValueError("the cost of a rational resampler is not counted")
    channels, middle = config["in_channels"], config["mid_channels"]
    places = frames * height * width
    blocks = 2 * config["num_blocks_per_stage"]
    work = convolution(places, channels, middle) + convolution(places, middle, middle) * blocks
    if config["spatial_upsample"]:
        work += convolution(places, middle, 4 * middle, kernel=9)
        places *= 4
    else:
        work += convolution(places, middle, 2 * middle)
        places = (2 * frames - 1) * height * width
    work += convolution(places, middle, middle) * blocks
    return work + convolution(places, middle, channels)
