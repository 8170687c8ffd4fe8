"""pipelines.stages.decode on the embedded checkpoint: streamed, tiled, put back, in float32."""

import gc
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.plan import DecodePlan
from pipelines.stages.decode import (
    decode_as_it_fits,
    decode_audio,
    decode_video,
    smaller_tiles,
    tile_count,
)
from pipelines.stages.pixels import frames_on_host, to_uint8
from pipelines.tokens import denormalise_video
from pipelines.values import NonFinite
from tiny.sizes import AUDIO_CHANNELS, VIDEO_CHANNELS

WHOLE = DecodePlan(tile_width=768, tile_height=768, overlap=64, tile_frames=800, overlap_frames=24)
TILED = DecodePlan(tile_width=768, tile_height=768, overlap=64, tile_frames=80, overlap_frames=24)


def latent(frames, height=2, width=3):
    return torch.randn(
        1, VIDEO_CHANNELS, frames, height, width, generator=torch.Generator().manual_seed(3)
    )


def test_one_tile_is_the_decoder_alone(untrained_model):
    video = latent(4)
    vae = untrained_model.part("vae")
    with torch.inference_mode():
        plain, _ = frames_on_host(vae.decode(denormalise_video(vae, video), return_dict=False)[0])
    (chunk,) = decode_video(untrained_model, video, WHOLE)
    off = np.abs(chunk.astype(int) - plain)
    assert off.max() <= 1  # of 255: another layout sums in another order
    assert (off > 0).mean() < 1e-3
    assert chunk.shape == (25, 64, 96, 3)


@pytest.mark.parametrize("frames", [1, 10, 11, 24])
def test_tiles_in_time_give_every_frame(untrained_model, frames):
    chunks = list(decode_video(untrained_model, latent(frames), TILED))
    assert sum(len(chunk) for chunk in chunks) == (frames - 1) * 8 + 1
    assert len(chunks) == tile_count((frames - 1) * 8 + 1, TILED)


def test_far_from_a_seam_a_tiled_clip_is_the_whole_clip(tiny_model):
    video = latent(14)
    (whole,) = decode_video(tiny_model, video, WHOLE)
    off = np.abs(np.concatenate(list(decode_video(tiny_model, video, TILED))).astype(int) - whole)
    assert off[:24].max() <= 1
    assert off.mean() < 0.05 * whole.std()


def test_tiles_in_space_cover_the_frame(tiny_model):
    small = replace(WHOLE, tile_width=128, tile_height=96, overlap=32)
    video = latent(2, 5, 7)
    (tiled,) = decode_video(tiny_model, video, small)
    (whole,) = decode_video(tiny_model, video, WHOLE)
    assert tiled.shape == whole.shape == (9, 160, 224, 3)
    assert np.abs(tiled.astype(int) - whole).mean() < 0.25 * whole.std()


def test_the_vae_is_left_as_it_was_also_when_reading_stops_early(untrained_model):
    vae = untrained_model.part("vae")
    vae.enable_tiling()
    try:
        frames = decode_video(untrained_model, latent(24), TILED)
        next(frames)
        assert not vae.use_tiling
        frames.close()
        assert vae.use_tiling
    finally:
        vae.disable_tiling()


def test_memory_does_not_grow_with_the_clip(untrained_model):
    """The most float pixels alive while a chunk is handed over.

    Of a clip, and of one twice as long.
    """

    def alive():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # looking at every object wakes deprecated ones
            tensors = (t for t in gc.get_objects() if isinstance(t, torch.Tensor))
            return sum(t.nbytes for t in tensors if t.ndim == 5 and t.shape[1] == 3)

    def peak(frames):
        return max(alive() for _ in decode_video(untrained_model, latent(frames, 2, 2), TILED))

    short, long = peak(24), peak(48)
    assert short > 0
    assert long <= short


def test_a_tile_that_does_not_fit_is_decoded_once_more_in_smaller_ones():
    sizes = []

    def decode(cell):
        sizes.append(tuple(cell.shape[3:]))
        if max(sizes[-1]) > 4:
            raise torch.OutOfMemoryError
        return cell.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)

    cells = torch.arange(64.0).view(1, 1, 1, 8, 8)
    decoded = decode_as_it_fits(decode, cells, (8, 8), 2)
    assert torch.allclose(decoded[..., ::32, ::32], cells)
    assert sizes[0] == (8, 8)
    with pytest.raises(torch.OutOfMemoryError):
        decode_as_it_fits(lambda _: decode(torch.zeros(1, 1, 1, 9, 9)), cells, (8, 8), 2)


def test_smaller_tiles_told_as_a_warning_once():
    told = []

    def decode(cell):
        if max(cell.shape[3:]) > 4:
            raise torch.OutOfMemoryError
        return cell.repeat_interleave(32, dim=3).repeat_interleave(32, dim=4)

    for _ in range(2):
        decode_as_it_fits(decode, torch.zeros(1, 1, 1, 8, 8), (8, 8), 2, told)
    assert told == [
        "the decoder ran out of memory and used tiles of 128x128 instead of 256x256 pixels"
    ]


@pytest.mark.parametrize(("width", "height"), [(768, 448), (448, 768), (768, 768)])
def test_smaller_tiles_keep_what_neighbours_share(width, height):
    plan = replace(TILED, tile_width=width, tile_height=height)
    ladder = list(smaller_tiles(plan))
    areas = [t.tile_width * t.tile_height * t.tile_frames for t in (plan, *ladder)]
    assert areas == sorted(areas, reverse=True)
    for tiles in ladder:
        assert (tiles.overlap, tiles.overlap_frames) == (64, 24)
        assert min(tiles.tile_width, tiles.tile_height) >= 2 * tiles.overlap
        assert tiles.tile_frames > tiles.overlap_frames
        assert tiles.tile_width % 32 == tiles.tile_height % 32 == tiles.tile_frames % 8 == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [(0, 0, 0), (8, 65, 1), (16, 129, 1)])
def test_what_is_not_finite_is_found_anywhere(at, value):
    pixels = torch.zeros(1, 3, 17, 130, 2)
    frames_on_host(pixels)
    pixels[0, 1][at] = value
    with pytest.raises(NonFinite, match="frames"):
        frames_on_host(pixels)


def test_a_flat_clip_is_reported_and_a_picture_is_not(untrained_model):
    vae = untrained_model.part("vae")
    shapes, flat = [], []
    list(decode_video(untrained_model, latent(2), WHOLE, shapes))
    hook = vae.decoder.register_forward_hook(lambda _m, _args, pixels: torch.zeros_like(pixels))
    try:
        list(decode_video(untrained_model, latent(2), WHOLE, flat))
    finally:
        hook.remove()
    assert shapes == []
    assert len(flat) == 1
    assert "same value" in flat[0]


def test_an_infinite_sound_is_an_error_before_it_is_clamped(untrained_model):
    vocoder = untrained_model.part("vocoder")
    hook = vocoder.register_forward_hook(lambda _m, _args, wave: wave * float("inf"))
    try:
        with pytest.raises(NonFinite, match="sound"):
            decode_audio(untrained_model, torch.randn(1, AUDIO_CHANNELS, 5, 16))
    finally:
        hook.remove()


def test_pixels_are_clamped_and_rounded():
    pixels = (
        torch.tensor([-2.0, -1.0, 0.0, 1.0, 1.0001, 0.5 / 127.5 + 1e-4])
        .view(1, 1, 1, 1, 6)
        .expand(1, 3, 1, 1, 6)
    )
    frames, extremes = to_uint8(pixels)
    assert frames[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 128]
    assert extremes.tolist() == [-127.5, pytest.approx(255.01275)]
    assert frames_on_host(pixels)[1] == (0, 255)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_pixels_of_any_layout_become_the_bytes_of_the_definition(layout, dtype):
    noise = torch.Generator().manual_seed(0)
    pixels = (
        torch.randn(1, 3, 3, 150, 6, generator=noise).to(dtype).contiguous(memory_format=layout)
    )
    wanted = ((pixels.double() + 1) * 127.5).round().clamp(0, 255)[0].permute(1, 2, 3, 0)
    frames, extremes = frames_on_host(pixels)
    off = np.abs(frames - wanted.numpy())
    assert off.max() <= 1  # of 255: float32 may round a half the other way
    assert (off > 0).mean() < 1e-3
    assert extremes == (frames.min(), frames.max())


def test_sound_is_decoded_in_float32_at_the_vocoders_own_rate(untrained_model):
    wave, rate = decode_audio(
        untrained_model,
        torch.randn(1, AUDIO_CHANNELS, 25, 16, generator=torch.Generator().manual_seed(3)),
    )
    assert rate == untrained_model.part("vocoder").config.output_sampling_rate == 24000
    assert wave.dtype == np.float32
    assert wave.shape[0] == 2
    assert wave.shape[1] / rate == pytest.approx(1.0, abs=0.05)
    assert np.abs(wave).max() <= 1
    assert wave.std() > 1e-3


def test_a_vocoder_in_another_precision_is_refused(untrained_model):
    vocoder = untrained_model.part("vocoder").to(torch.bfloat16)
    try:
        with pytest.raises(RuntimeError, match="float32"):
            decode_audio(untrained_model, torch.zeros(1, AUDIO_CHANNELS, 5, 16))
    finally:
        vocoder.to(torch.float32)
