"""What is read of an existing video: facts, frames and refusals; and its sound in a new file."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from ltx2.errors import MediaRefused
from ltx2.media.encode import CopiedSound, check_ffmpeg, write_mp4
from ltx2.media.video import probe, read_frames
from pipelines.values import Clip
from tests.media.videos import first_picture_at, packets, pictures, video

FILM = Fraction(24000, 1001)


def read(path):
    facts = probe(path)
    return facts, np.concatenate(list(read_frames(facts)))


def copied(source, target):
    """The same pictures in a new file, with the source's sound."""
    facts = probe(source)
    clip = Clip(
        frames=read_frames(facts),
        chunks=1,
        width=facts.width,
        height=facts.height,
        num_frames=facts.frames,
        fps=facts.rate,
    )
    sound = CopiedSound(path=source, sample_rate=facts.audio[0].sample_rate, delay=facts.delay)
    return write_mp4(clip, target, sound=sound, metadata={"prompt": "none"})


def remuxed(target, *arguments):
    """A file that ffmpeg puts together from others, nothing encoded anew."""
    program = [check_ffmpeg(), "-loglevel", "error", "-nostdin"]
    subprocess.run([*program, *map(str, arguments), "-c", "copy", str(target)], check=True)
    return target


def cut_off(path, share):
    """The first part of a file, as a copy that broke off leaves it."""
    whole = path.read_bytes()
    target = path.with_name(f"cut{path.suffix}")
    target.write_bytes(whole[: int(share * len(whole))])
    return target


@pytest.mark.parametrize("rate", [Fraction(24), FILM, Fraction(30000, 1001), Fraction(50)], ids=str)
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_constant_rate_is_known_exactly(tmp_path, rate, kind):
    facts, frames = read(video(tmp_path / f"in.{kind}", rate=rate))
    assert (facts.rate, facts.frames, facts.variable) == (rate, 25, False)
    assert frames.shape == (25, 64, 96, 3)


def test_the_pictures_are_those_of_the_file(tmp_path):
    _, frames = read(video(tmp_path / "in.mkv", codec="ffv1", pixels="bgr0", audio=None))
    assert np.array_equal(frames, pictures(25, 96, 64))


@pytest.mark.parametrize(("tag", "matrix"), [(1, "bt709"), (5, "bt601")])
def test_colours_are_converted_by_the_files_own_matrix(tmp_path, tag, matrix):
    """The same numbers mean other colours under the other matrix."""
    flat = np.full((9, 64, 96, 3), (200, 30, 60), np.uint8)
    path = tmp_path / "in.mp4"
    video(path, count=9, frames=flat, tags={"colorspace": tag}, audio=None)
    facts, frames = read(path)
    assert facts.matrix == matrix
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0))
        y, u, v = (int(decoded.to_ndarray()[row, 5]) for row in (5, 66, 82))
    luma, blue, red = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    kr, kb = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114)}[matrix]
    wanted = (luma + 2 * (1 - kr) * red, None, luma + 2 * (1 - kb) * blue)
    assert abs(frames[0, 30, 30, 0] / 255 - wanted[0]) < 0.01
    assert abs(frames[0, 30, 30, 2] / 255 - wanted[2]) < 0.01


def test_an_untagged_file_is_taken_as_players_take_it(tmp_path):
    small = probe(video(tmp_path / "sd.mp4", count=2, audio=None))
    large = probe(video(tmp_path / "hd.mp4", count=2, width=1280, height=720, audio=None))
    assert (small.matrix, large.matrix) == ("bt601", "bt709")


def test_a_clip_from_a_phone_is_turned_upright(tmp_path):
    facts, frames = read(video(tmp_path / "in.mp4", rotation=90))
    assert (facts.width, facts.height) == (64, 96)
    upright = np.rot90(pictures(25, 96, 64)[0])
    assert np.abs(frames[0].astype(int) - upright).mean() < 8


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    facts, frames = read(video(tmp_path / "in.mp4", shape=Fraction(4, 3)))
    assert (facts.width, facts.height) == (128, 64)
    assert frames.shape == (25, 64, 128, 3)


def test_uneven_frames_are_evened_out_at_their_average(tmp_path):
    steps = np.random.default_rng(1).uniform(0.5, 1.5, 71) * 3753.75
    times = [0, *np.cumsum(steps).round().astype(int).tolist()]
    facts, frames = read(video(tmp_path / "in.mp4", count=72, rate=FILM, times=times))
    assert facts.variable
    assert facts.frames == len(frames) == 72
    assert abs(float(facts.duration) - (times[-1] + 3754) / 90000) < 0.02
    # The square stands where it stood at that time in the source.
    for at in (10, 40, 70):
        moment = float(at / facts.rate) * 90000
        number = int(np.searchsorted(times, moment, side="right")) - 1
        near = pictures(72, 96, 64)[max(0, number - 1) : number + 2].astype(int)
        assert np.abs(near - frames[at]).mean(axis=(1, 2, 3)).min() < 6


def test_a_long_gap_holds_its_picture(tmp_path):
    times = [3750 * n + (15000 if n > 9 else 0) for n in range(20)]
    facts, frames = read(video(tmp_path / "in.mp4", count=20, times=times, audio=None))
    still = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)]
    assert facts.variable
    assert sum(change < 0.5 for change in still) >= 2


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "aac"), ("mkv", "ac3"), ("webm", "libopus"), ("mkv", "flac")]
)
def test_the_sound_is_taken_over_packet_by_packet(tmp_path, kind, codec):
    source = tmp_path / f"in.{kind}"
    video(source, audio=codec, codec="libvpx-vp9" if kind == "webm" else "libx264")
    copied(source, tmp_path / "out.mp4")
    before, after = packets(source), packets(tmp_path / "out.mp4")
    assert before[0] == after[0]
    assert np.abs(np.subtract(before[1], after[1])).max() < 0.002


def test_a_picture_that_begins_late_still_does(tmp_path):
    source = video(tmp_path / "in.mkv", late=18000)
    facts = probe(source)
    assert abs(float(facts.delay) - 0.2) < 0.03
    copied(source, tmp_path / "out.mp4")
    gaps = [first_picture_at(path) - packets(path)[1][0] for path in (source, tmp_path / "out.mp4")]
    assert abs(gaps[0] - gaps[1]) < 0.005


def test_sound_that_begins_late_still_does(tmp_path):
    whole = video(tmp_path / "in.mp4")
    source = remuxed(
        tmp_path / "late.mp4", "-i", whole, "-itsoffset", "0.5", "-i", whole,
        "-map", "0:v", "-map", "1:a",
    )  # fmt: skip
    assert probe(source).delay == 0
    copied(source, tmp_path / "out.mp4")
    before, after = packets(source), packets(tmp_path / "out.mp4")
    assert before[0] == after[0]
    assert before[1][0] > 0.4
    assert np.abs(np.subtract(before[1], after[1])).max() < 0.002


def test_every_sound_track_is_taken_over_in_its_order(tmp_path):
    one, other = video(tmp_path / "a.mp4"), video(tmp_path / "b.mkv", audio="ac3")
    source = remuxed(
        tmp_path / "in.mkv", "-i", one, "-i", other, "-map", "0:v", "-map", "0:a", "-map", "1:a"
    )
    assert [track.codec for track in probe(source).audio] == ["aac", "ac3"]
    copied(source, tmp_path / "out.mp4")
    for track in (0, 1):
        before, after = packets(source, track), packets(tmp_path / "out.mp4", track)
        assert before[0] == after[0]
        assert np.abs(np.subtract(before[1], after[1])).max() < 0.002


@pytest.mark.parametrize("codec", ["mp2", "ac3"])
def test_a_transport_stream_is_read_whole_with_its_sound_in_time(tmp_path, codec):
    source = video(tmp_path / "in.ts", audio=codec)
    facts, frames = read(source)
    assert (facts.rate, facts.frames, facts.variable) == (24, 25, False)
    assert np.abs(frames.astype(int) - pictures(25, 96, 64)).mean() < 8
    copied(source, tmp_path / "out.mp4")
    assert packets(source)[0] == packets(tmp_path / "out.mp4")[0]
    gaps = [first_picture_at(path) - packets(path)[1][0] for path in (source, tmp_path / "out.mp4")]
    assert abs(gaps[0] - gaps[1]) < 0.005


def test_sound_of_a_codec_that_nobody_knows_is_told_and_not_copied(tmp_path):
    whole = video(tmp_path / "in.mkv").read_bytes()
    strange = tmp_path / "strange.mkv"
    strange.write_bytes(whole.replace(b"A_AAC", b"A_XYZ"))
    facts, frames = read(strange)
    assert [(track.codec, track.sample_rate) for track in facts.audio] == [("unknown", 0)]
    assert facts.uncopied == ("unknown",)
    assert len(frames) == 25


def test_sound_that_an_mp4_cannot_hold_is_named(tmp_path):
    facts = probe(video(tmp_path / "in.mkv", audio="pcm_s16le"))
    assert facts.uncopied == ("pcm_s16le",)
    assert probe(video(tmp_path / "in.mp4")).uncopied == ()


def test_a_file_without_sound_has_none(tmp_path):
    facts = probe(video(tmp_path / "in.mp4", audio=None))
    assert (facts.audio, facts.delay) == ((), 0)


def test_equal_files_have_equal_hashes(tmp_path):
    first, second = (video(tmp_path / name, audio=None) for name in ("a.mp4", "b.mp4"))
    assert probe(first).sha256 == probe(second).sha256


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.mp4", b"no video at all " * 50, "no video that can be read"),
        ("empty.mp4", b"", "no video that can be read"),
        ("missing.mp4", None, "is not there"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaRefused, match=said):
        probe(tmp_path / name)


def test_a_folder_and_a_sound_are_refused(tmp_path):
    with pytest.raises(MediaRefused, match="is a folder"):
        probe(tmp_path)
    with av.open(str(tmp_path / "in.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4800), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
    with pytest.raises(MediaRefused, match="no picture, only audio"):
        probe(tmp_path / "in.wav")


@pytest.mark.parametrize(("transfer", "said"), [(16, "HDR .PQ."), (18, "HDR .HLG.")])
def test_hdr_is_refused_by_its_name(tmp_path, transfer, said):
    path = video(tmp_path / "in.mp4", tags={"color_trc": transfer}, audio=None)
    with pytest.raises(MediaRefused, match=said):
        probe(path)


def test_wide_colours_are_refused(tmp_path):
    path = video(tmp_path / "in.mp4", tags={"color_primaries": 9}, audio=None)
    with pytest.raises(MediaRefused, match=r"BT\.2020"):
        probe(path)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (8, r"colour matrix 8 of ITU-T H\.273 \(YCgCo\)"),
        (9, r"BT\.2020"),
        (10, r"BT\.2020"),
        (14, "ICtCp"),
    ],
)
def test_a_matrix_that_is_not_read_is_refused_and_not_guessed(tmp_path, matrix, said):
    """Also where the primaries are those of SDR."""
    tags = {"colorspace": matrix, "color_primaries": 1}
    with pytest.raises(MediaRefused, match=said):
        probe(video(tmp_path / "in.mp4", tags=tags, audio=None))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "avi"])
def test_a_file_that_was_cut_off_is_refused_by_what_it_lists(tmp_path, kind):
    whole = video(
        tmp_path / f"in.{kind}",
        count=48,
        codec="libvpx-vp9" if kind == "webm" else "libx264",
        audio="libopus" if kind == "webm" else "aac",
    )
    if kind == "mp4":  # with its index in front, as it is sent over a network
        whole = remuxed(tmp_path / "fast.mp4", "-i", whole, "-movflags", "+faststart")
    assert probe(whole).frames == 48
    with pytest.raises(MediaRefused, match=r"lists .* s of .* and ends after 1\.\d s: "):
        probe(cut_off(whole, 0.6))


def test_a_file_of_unnamed_tracks_is_held_against_its_whole_length(tmp_path):
    whole = video(tmp_path / "in.mkv", count=48)
    plain = tmp_path / "plain.mkv"
    plain.write_bytes(whole.read_bytes().replace(b"DURATION", b"XXXXXXXX"))
    assert probe(plain).frames == 48
    with pytest.raises(MediaRefused, match=r"lists 2\.\d s and ends after 1\.\d s: it was"):
        probe(cut_off(plain, 0.6))


def test_a_clip_that_was_trimmed_without_encoding_is_whole(tmp_path):
    """It lists and holds more frames than it shows."""
    whole = video(tmp_path / "in.mp4", count=60)
    facts, frames = read(remuxed(tmp_path / "out.mp4", "-ss", "0.5", "-i", whole))
    assert facts.frames == len(frames) == 48
    data = bytearray(whole.read_bytes())
    at = data.find(b"elst")
    while at >= 0:  # the edit list of each track: how long its part is shown, in 1/1000 s
        shown = int.from_bytes(data[at + 12 : at + 16])
        data[at + 12 : at + 16] = (shown // 2).to_bytes(4)
        at = data.find(b"elst", at + 4)
    half = tmp_path / "half.mp4"
    half.write_bytes(data)
    facts, frames = read(half)
    assert facts.frames == len(frames) == 30


def test_a_file_with_fewer_frames_than_it_lists_is_refused_before_anything_runs(tmp_path):
    facts = probe(video(tmp_path / "in.mp4", audio=None))
    with pytest.raises(MediaRefused, match="lists 40 frames, of which 25 could be decoded"):
        list(read_frames(replace(facts, frames=40)))


def test_a_reader_that_is_not_read_to_its_end_leaves_no_process(tmp_path):
    facts = probe(video(tmp_path / "in.mp4", count=200))
    frames = read_frames(facts)
    assert next(frames).shape[1:] == (64, 96, 3)
    frames.close()
    assert list(frames) == []
