"""Frames of a video to latents: windows, tiles, sizes, and memory that does not grow."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from ltx2.extent import decode_tiles
from ltx2.passes import detail_pass
from pipelines.components import Components
from pipelines.geometry import Size
from pipelines.models import CHECKPOINTS
from pipelines.plan import DecodePlan
from pipelines.stages.condition import encode_pixels
from pipelines.stages.decode import decode_video
from pipelines.stages.detail import followed
from pipelines.stages.encode import encode_spans, encode_video, scaled_frames
from tiny.sizes import VIDEO_CHANNELS

WHOLE = DecodePlan(tile_width=768, tile_height=768, overlap=128, tile_frames=400, overlap_frames=56)


def frames(count, width, height, seed=0):
    """Waves that move, with a little noise, uint8 (count, height, width, 3)."""
    rows, columns, times = np.mgrid[0:height, 0:width, 0:count]
    waves = [
        np.sin(columns / 17 + times / 5 * c) * np.cos(rows / 23 - times / 9) for c in (1, 2, 3)
    ]
    picture = 127 + 100 * np.stack(waves, -1).transpose(2, 0, 1, 3)
    noise = np.random.default_rng(seed).normal(0, 8, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def chunked(source, size=7):
    return iter([source[start : start + size] for start in range(0, len(source), size)])


def encode(model, source, tiles, **changes):
    sizes = {"frames": len(source), "width": source.shape[2], "height": source.shape[1]}
    return encode_video(model, chunked(source), **{**sizes, **changes}, tiles=tiles)


def off(made, wanted):
    return float((made - wanted).norm() / wanted.norm())


def test_one_window_and_one_tile_are_the_one_whole_encode(untrained_model):
    source = frames(25, 96, 64)
    pixels = torch.from_numpy(source).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    made = encode(untrained_model, source, WHOLE)
    assert made.shape == (1, VIDEO_CHANNELS, 4, 2, 3)
    torch.testing.assert_close(made, encode_pixels(untrained_model, pixels), atol=1e-6, rtol=0)


def test_windows_of_time_come_near_the_whole_and_nearer_with_a_longer_run_up(untrained_model):
    source = frames(233, 64, 64)
    wanted = encode(untrained_model, source, WHOLE)
    errors = [
        off(
            encode(untrained_model, source, replace(WHOLE, tile_frames=160, overlap_frames=run_up)),
            wanted,
        )
        for run_up in (24, 40, 56)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def detailed(count, width, height, downscale):
    return detail_pass(
        CHECKPOINTS["tiny"],
        variant="distilled",
        size=Size(width, height),
        frames=count,
        fps=24,
        seed=7,
        reference_downscale=downscale,
    )


def test_the_smaller_clip_that_a_detailer_follows_is_encoded_as_the_whole_is(untrained_model):
    """Through windows of the decoder's length and overlap it would be ten times as far off."""
    video = encode(untrained_model, frames(233, 128, 128), WHOLE)
    plan, tiles = detailed(233, 128, 128, 2), decode_tiles(Size(128, 128))
    made = followed(untrained_model, plan, video, tiles)
    assert made.shape == (1, VIDEO_CHANNELS, 30, 2, 2)
    decoded = np.concatenate(list(decode_video(untrained_model, video, tiles)))
    wanted = encode(untrained_model, decoded, WHOLE, width=64, height=64)
    assert off(made, wanted) < 0.01
    assert len(encode_spans(233, plan.encode)) > 1
    in_decoders = followed(untrained_model, replace(plan, encode=tiles), video, tiles)
    assert off(in_decoders, wanted) > 10 * off(made, wanted)


def test_a_clip_that_is_followed_at_its_own_size_is_not_encoded_again(untrained_model):
    video = torch.zeros(1, VIDEO_CHANNELS, 2, 4, 4)
    plan, tiles = detailed(9, 128, 128, 1), decode_tiles(Size(128, 128))
    assert followed(untrained_model, plan, video, tiles) is video
    with pytest.raises(ValueError, match="no tiles to encode it in"):
        followed(untrained_model, replace(detailed(9, 128, 128, 2), encode=None), video, tiles)


def test_every_window_sees_more_frames_of_its_neighbour_than_the_overlap_asks(untrained_model):
    tiles = replace(WHOLE, tile_frames=80, overlap_frames=24)
    spans = encode_spans(401, tiles)
    assert spans[0][0] == 0
    assert spans[-1][1] == 51
    for before, after in pairwise(spans):
        shared = 8 * (before[1] - 1) + 1 - 8 * after[0]
        assert shared >= 24


def test_latents_before_the_second_window_are_those_of_the_whole(untrained_model):
    """The encoder looks back only, so cutting the clip later changes nothing before."""
    source = frames(97, 64, 64)
    tiles = replace(WHOLE, tile_frames=80, overlap_frames=24)
    made, wanted = encode(untrained_model, source, tiles), encode(untrained_model, source, WHOLE)
    torch.testing.assert_close(made[:, :, :10], wanted[:, :, :10], atol=1e-5, rtol=0)
    assert not torch.allclose(made[:, :, 10:], wanted[:, :, 10:], atol=1e-5)


def test_large_frames_are_encoded_in_tiles_without_a_seam(untrained_model):
    source = frames(9, 512, 96)
    wanted = encode(untrained_model, source, WHOLE)
    made = encode(untrained_model, source, replace(WHOLE, tile_width=256))
    assert off(made, wanted) < 0.15
    # Far from the seams nothing differs from the whole.
    torch.testing.assert_close(made[..., :2], wanted[..., :2], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[..., -2:], wanted[..., -2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 7, 200])
def test_the_size_of_the_chunks_does_not_matter(untrained_model, size):
    source = frames(97, 64, 64)
    tiles = replace(WHOLE, tile_frames=80, overlap_frames=24)
    options = {"frames": 97, "width": 64, "height": 64, "tiles": tiles}
    made = encode_video(untrained_model, chunked(source, size), **options)
    assert torch.equal(made, encode_video(untrained_model, chunked(source), **options))


def test_frames_are_read_as_they_are_needed(untrained_model):
    """At most one window and its run-up are ahead of what was encoded."""
    source = frames(200 + 1, 64, 64)
    read = 0

    def counting():
        nonlocal read
        for frame in source:
            read += 1
            yield frame[None]

    seen = []
    vae = untrained_model.part("vae")
    hook = vae.encoder.register_forward_pre_hook(lambda *_: seen.append(read))
    try:
        tiles = replace(WHOLE, tile_frames=80, overlap_frames=24)
        encode_video(untrained_model, counting(), frames=201, width=64, height=64, tiles=tiles)
    finally:
        hook.remove()
    assert seen == [73, 121, 169, 201]


def test_a_later_window_is_no_larger_than_the_first(untrained_model):
    sizes = []
    vae = untrained_model.part("vae")
    hook = vae.encoder.register_forward_pre_hook(lambda _m, args: sizes.append(args[0].shape[2]))
    try:
        tiles = replace(WHOLE, tile_frames=80, overlap_frames=24)
        encode(untrained_model, frames(201, 64, 64), tiles)
    finally:
        hook.remove()
    assert max(sizes) == 73


def test_frames_of_another_size_are_scaled_and_never_cropped():
    edge = np.zeros((2, 128, 192, 3), np.uint8)
    edge[:, :, 96:] = 255  # the right half is white
    for width, height in ((96, 64), (384, 256), (64, 64)):
        made = np.concatenate(list(scaled_frames(iter([edge]), width, height, torch.device("cpu"))))
        assert made.shape == (2, height, width, 3)
        assert made[0, :, : width // 2 - 4].max() == 0
        assert made[0, :, width // 2 + 4 :].min() == 255


def test_shrinking_averages_what_it_leaves_out():
    fine = np.zeros((1, 64, 64, 3), np.uint8)
    fine[:, :, ::2] = 255  # stripes of one pixel, which taking every other one would lose
    made = next(scaled_frames(iter([fine]), 32, 32, torch.device("cpu")))
    assert 110 < made[0, 8:-8, 8:-8].mean() < 145
    assert made[0, 8:-8, 8:-8].std() < 10


def test_scaled_frames_have_the_latents_of_their_size(untrained_model):
    made = encode(untrained_model, frames(9, 128, 128), WHOLE, width=64, height=96)
    assert made.shape == (1, VIDEO_CHANNELS, 2, 3, 2)


@pytest.mark.parametrize(("count", "said"), [(17, "ended after 17"), (33, "goes on after its 25")])
def test_a_video_of_another_length_than_it_should_have_is_refused(untrained_model, count, said):
    with pytest.raises(ValueError, match=said):
        encode(untrained_model, frames(count, 64, 64), WHOLE, frames=25)


def test_a_video_without_frames_is_refused(untrained_model):
    with pytest.raises(ValueError, match="ended after 0"):
        encode_video(untrained_model, iter([]), frames=9, width=64, height=64, tiles=WHOLE)


def test_a_decoder_that_feeds_the_encoder_leaves_the_vae_on_the_device(untrained_model):
    """Both are one part: the end of the inner use must not take it away from the outer one."""
    away = Components(untrained_model.weights, device="meta", residency="offload")
    with away.using("vae") as vae:
        for _ in range(2):
            with away.using("vae") as same:
                assert same is vae
            assert {each.device.type for each in vae.parameters()} == {"meta"}
    assert {each.device.type for each in vae.parameters()} == {"cpu"}


def test_the_vae_keeps_the_settings_it_came_with(untrained_model):
    vae = untrained_model.part("vae")
    vae.use_framewise_decoding = True  # diffusers' own windows, which shift time
    try:
        source = frames(33, 64, 64)
        made = encode(untrained_model, source, WHOLE)
        assert vae.use_framewise_decoding is True
        vae.use_framewise_decoding = False
        assert torch.equal(made, encode(untrained_model, source, WHOLE))
    finally:
        vae.use_framewise_decoding = False
