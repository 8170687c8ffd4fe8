"""MP4s are written and read back: size, rate, colour, sound, tags; errors leave nothing."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from ltx2.errors import BadRequest, ConfigError, DeliveryFailed, GenerationFailed
from ltx2.media import encode
from ltx2.media.encode import check_ffmpeg, fit_audio, write_mp4
from pipelines.values import Clip
from tests.media.clips import boxes, clip, decoded, noise, sound, tone

ROOT = Path(__file__).resolve().parents[2]
BARS = [
    (255, 255, 255), (191, 191, 0), (0, 191, 191), (0, 191, 0),
    (191, 0, 191), (191, 0, 0), (0, 0, 191), (0, 0, 0),
]  # fmt: skip


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("fps", [24, 25, 30, 48, 50, 60])
def test_size_rate_and_number_of_frames_are_exact(fps, tmp_path):
    made = write_mp4(clip(noise(17), fps=fps), tmp_path / "out.mp4")
    with av.open(str(made.path)) as container:
        (stream,) = container.streams
        assert (stream.width, stream.height, stream.frames) == (64, 48, 17)
        assert stream.average_rate == fps
        assert stream.duration * stream.time_base * fps == 17
        times = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        assert [time * stream.time_base * fps for time in times] == list(range(17))
    assert len(decoded(made.path)) == 17
    assert (made.width, made.height, made.num_frames) == (64, 48, 17)
    assert made.duration == 17 / fps
    assert entries(tmp_path) == ["out.mp4"]


def test_the_receipt_describes_the_bytes_on_disk(tmp_path):
    made = write_mp4(clip(noise(9)), tmp_path / "out.mp4")
    data = made.path.read_bytes()
    assert made.bytes == len(data)
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.audio_sample_rate is None


def test_the_file_is_h264_in_yuv420p_and_tagged_bt709_limited(tmp_path):
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4")
    with av.open(str(made.path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        # ITU-T H.273: 1 is BT.709 for primaries, transfer and matrix; range 1 is limited in FFmpeg.
        tags = (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range)
        assert tags == (1, 1, 1, 1)


def test_the_container_says_the_same_of_its_colours(tmp_path):
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4")
    # ISO/IEC 14496-12, ColourInformationBox: three 16-bit codes, then the full-range bit.
    assert b"colrnclx" + bytes([0, 1, 0, 1, 0, 1, 0]) in made.path.read_bytes()


def test_colour_bars_come_back_as_they_went_in(tmp_path):
    bars = np.repeat(np.array(BARS, np.uint8), 16, axis=0)  # 8 bars of 16 columns
    frames = np.broadcast_to(bars, (5, 64, 128, 3))
    back = decoded(write_mp4(clip(frames), tmp_path / "out.mp4").path).astype(int)
    middles = np.arange(8) * 16 + 8
    assert np.abs(back[:, 32, middles] - np.array(BARS)).max() <= 3


def test_colours_are_stored_by_the_matrix_they_are_tagged_with(tmp_path):
    red = np.zeros((3, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    made = write_mp4(clip(red), tmp_path / "out.mp4")
    with av.open(str(made.path)) as container:
        planes = next(container.decode(video=0)).to_ndarray(format="yuv420p")
    # BT.709, limited range: Y = 16 + 219 * 0.2126, Cr = 128 + 112. BT.601 would give Y = 81.
    assert abs(int(planes[32, 32]) - 63) <= 1
    assert abs(int(planes[64 + 16 + 8].max()) - 240) <= 1


def test_the_index_stands_before_the_pictures(tmp_path):
    audio = tone(9 / 24, 48000)
    names = boxes(write_mp4(clip(noise(9), audio=audio, rate=48000), tmp_path / "out.mp4").path)
    assert names.index("moov") < names.index("mdat")


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
@pytest.mark.parametrize(("frames", "fps"), [(1, 24), (9, 60), (25, 25), (121, 24)])
@pytest.mark.parametrize("given", [0.0, 0.5, 1.0, 1.7], ids="{} of the length".format)
def test_the_sound_is_as_long_as_the_picture_whatever_was_given(rate, frames, fps, given, tmp_path):
    audio = tone(given * frames / fps, rate)
    pictures = noise(frames, width=32, height=32)
    made = write_mp4(clip(pictures, fps=fps, audio=audio, rate=rate), tmp_path / "out.mp4")
    assert made.audio_sample_rate == rate
    with av.open(str(made.path)) as container:
        video, track = container.streams.video[0], container.streams.audio[0]
        assert (track.codec_context.name, track.codec_context.sample_rate) == ("aac", rate)
        assert track.codec_context.channels == 2
        seconds = float(track.duration * track.time_base)
        assert seconds == pytest.approx(frames / fps, abs=1 / rate)
        assert float(video.duration * video.time_base) == pytest.approx(frames / fps)
        assert (video.start_time, track.start_time) == (0, 0)


def test_the_sound_starts_with_the_picture_and_not_a_codec_block_later(tmp_path):
    rate = 48000
    audio = np.zeros((2, rate), np.float32)
    audio[:, 24000:24200] = 0.8
    made = write_mp4(clip(noise(24), audio=audio, rate=rate), tmp_path / "out.mp4")
    loud = np.flatnonzero(np.abs(sound(made.path)[0]) > 0.4)
    assert abs(int(loud[0]) - 24000) < 64  # an AAC block is 1024


def test_one_channel_stays_one_channel(tmp_path):
    audio = tone(1, 24000, channels=1)
    made = write_mp4(clip(noise(24), audio=audio, rate=24000), tmp_path / "out.mp4")
    with av.open(str(made.path)) as container:
        assert container.streams.audio[0].codec_context.channels == 1


def test_both_channels_keep_their_side(tmp_path):
    audio = tone(1, 48000)
    audio[1] = 0
    made = write_mp4(clip(noise(24), audio=audio, rate=48000), tmp_path / "out.mp4")
    left, right = np.abs(sound(made.path)).max(axis=1)
    assert left > 0.4
    assert right < 0.05


def test_a_clip_without_sound_has_no_audio_track(tmp_path):
    made = write_mp4(clip(noise(9)), tmp_path / "out.mp4")
    with av.open(str(made.path)) as container:
        assert not container.streams.audio


def test_sound_is_limited_to_full_scale_and_cut():
    loud = np.array([[2.0, -3.0, 0.25, 0.5]], np.float32)
    assert fit_audio(loud, 3).tolist() == [[1.0, -1.0, 0.25]]
    assert fit_audio(loud, 6).tolist() == [[1.0, -1.0, 0.25, 0.5, 0.0, 0.0]]


def test_tags_hold_the_title_and_one_json_comment(tmp_path):
    facts = {"prompt": 'a "red" ball; x=1 #2 \\ 3\nrolls — 左', "seed": "7", "plan_id": "abc"}
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4", metadata=facts)
    with av.open(str(made.path)) as container:
        found = container.metadata
    assert json.loads(found["comment"]) == {**facts, "encoder": "ltx2"}
    assert found["title"] == 'a "red" ball; x=1 #2 \\ 3 rolls — 左'


def test_tags_are_found_with_sound_too(tmp_path):
    audio = tone(9 / 24, 48000)
    made = write_mp4(
        clip(noise(9), audio=audio, rate=48000), tmp_path / "out.mp4", metadata={"seed": "7"}
    )
    with av.open(str(made.path)) as container:
        assert json.loads(container.metadata["comment"])["seed"] == "7"
        assert "title" not in container.metadata


def test_a_long_prompt_is_whole_in_the_comment_and_cut_in_the_title(tmp_path):
    prompt = "\N{GRINNING FACE} word " * 1400
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4", metadata={"prompt": prompt})
    with av.open(str(made.path)) as container:
        assert json.loads(container.metadata["comment"])["prompt"] == prompt
        assert len(container.metadata["title"]) == encode.TITLE


def test_no_tags_are_written_where_none_are_wanted(tmp_path):
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4", metadata=None)
    with av.open(str(made.path)) as container:
        assert not {"title", "comment", "creation_time", "encoder"} & container.metadata.keys()


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    def once(name):
        source = clip(noise(25, width=128, height=128), audio=tone(25 / 24, 48000), rate=48000)
        return write_mp4(source, tmp_path / name, metadata={"prompt": "x"}).sha256

    assert once("a.mp4") == once("b.mp4")


def test_a_better_quality_takes_more_bytes(tmp_path):
    good = write_mp4(clip(noise(9)), tmp_path / "good.mp4", crf=10)
    poor = write_mp4(clip(noise(9)), tmp_path / "poor.mp4", crf=40)
    assert poor.bytes < good.bytes


def test_an_existing_file_is_replaced(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_text("old")
    made = write_mp4(clip(noise(3)), target)
    assert target.stat().st_size == made.bytes
    assert entries(tmp_path) == ["out.mp4"]


def test_the_file_has_the_rights_of_any_new_file(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    made = write_mp4(clip(noise(3)), tmp_path / "out.mp4")
    assert made.path.stat().st_mode == usual.stat().st_mode


class FellOver(Exception):
    """A decoder's own error."""


@pytest.mark.parametrize("failure", [FellOver("mid-clip"), KeyboardInterrupt(), OSError("disk")])
def test_what_the_frames_raise_passes_through_and_leaves_nothing(failure, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_text("old")
    source = clip(noise(16), num_frames=24, fails=failure)
    with pytest.raises(type(failure)) as caught:
        write_mp4(source, target)
    assert caught.value is failure
    assert source.frames.closed
    assert target.read_text() == "old"
    assert entries(tmp_path) == ["out.mp4"]


def test_ctrl_c_ends_the_encoder_and_leaves_nothing(tmp_path):
    script = """
import sys, time
from pathlib import Path
from ltx2.media.encode import write_mp4
from tests.media.clips import clip, noise

def chunks():
    yield noise(8)
    print("encoding", flush=True)
    time.sleep(60)

source = clip(noise(0), num_frames=16, size=(64, 48))
source.frames.left = chunks()
write_mp4(source, Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "out.mp4")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the signal reaches what a terminal's would, and not us
    )
    with process:
        assert process.stdout.readline() == "encoding\n"
        assert len(entries(tmp_path)) == 1
        os.killpg(process.pid, signal.SIGINT)
        errors = process.stderr.read()
    assert "KeyboardInterrupt" in errors
    assert "BrokenPipeError" not in errors
    assert entries(tmp_path) == []


def test_the_frames_are_closed_after_success(tmp_path):
    source = clip(noise(3))
    write_mp4(source, tmp_path / "out.mp4")
    assert source.frames.closed


def test_ffmpeg_is_gone_when_the_frames_fail(tmp_path):
    def children():
        tasks = Path("/proc/self/task")
        return {pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()}

    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("this system does not list the children of a process")
    before = children()
    with pytest.raises(FellOver):
        write_mp4(clip(noise(8), num_frames=9, fails=FellOver()), tmp_path / "out.mp4")
    assert children() <= before


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (lambda: clip(noise(3, width=65)), BadRequest, "65x48"),
        (lambda: clip(noise(3, height=47)), BadRequest, "64x47"),
        (lambda: clip(noise(8), num_frames=9), GenerationFailed, "8 frames for a clip of 9"),
        (lambda: clip(noise(17), num_frames=9), GenerationFailed, "more than 9 frames"),
        (lambda: clip(noise(0), num_frames=0), GenerationFailed, "no frames"),
        (lambda: clip(noise(3), size=(32, 48)), GenerationFailed, "must be uint8 (n, 48, 32, 3)"),
        (lambda: clip(noise(3).astype(np.float32)), GenerationFailed, "float32"),
        (lambda: clip(noise(3), audio=tone(1, 100), rate=44000), GenerationFailed, "44000 Hz"),
        (lambda: clip(noise(3), audio=np.zeros(9), rate=48000), GenerationFailed, "shape (9,)"),
        (
            lambda: clip(noise(3), audio=np.full((2, 9), np.nan), rate=48000),
            GenerationFailed,
            "finite",
        ),
    ],
)
def test_a_clip_that_is_not_what_it_says_is_refused(source, error, words, tmp_path):
    made = source()
    with pytest.raises(error) as caught:
        write_mp4(made, tmp_path / "out.mp4")
    assert words in str(caught.value)
    assert made.frames.closed
    assert entries(tmp_path) == []


def test_an_empty_chunk_counts_as_no_frames(tmp_path):
    frames = noise(9)
    source = clip(frames)
    source.frames.left = iter([frames[:4], frames[:0], frames[4:]])
    assert write_mp4(source, tmp_path / "out.mp4").num_frames == 9


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DeliveryFailed, match=r"cannot write .*out\.mp4: no such file or directory"):
        write_mp4(clip(noise(3)), tmp_path / "nowhere" / "out.mp4")


def test_a_folder_is_no_target(tmp_path):
    with pytest.raises(DeliveryFailed, match="it is a folder"):
        write_mp4(clip(noise(3)), tmp_path)
    assert entries(tmp_path) == []


def test_what_ffmpeg_says_is_in_the_error(tmp_path):
    with pytest.raises(DeliveryFailed, match=r"(?s)ffmpeg failed with status .*sharp"):
        write_mp4(clip(noise(64, width=256, height=256)), tmp_path / "out.mp4", preset="sharp")
    assert entries(tmp_path) == []


def test_the_ffmpeg_of_the_package_has_both_encoders():
    assert check_ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo ' V....D libx265 H.265'; echo ' A....D aac AAC'", "lacks the encoders libx264"),
        ("exit 3", "no ffmpeg that runs"),
    ],
)
def test_an_ffmpeg_that_cannot_do_it_is_refused_at_the_start(script, words, tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    check_ffmpeg.cache_clear()
    try:
        with pytest.raises(ConfigError, match=words):
            check_ffmpeg()
    finally:
        check_ffmpeg.cache_clear()


def test_memory_does_not_grow_with_the_length_of_the_clip(tmp_path):
    chunk = 8 * 64 * 64 * 3  # bytes

    def frames():
        for index in range(250):
            yield np.full((8, 64, 64, 3), index, np.uint8)

    source = Clip(frames=frames(), chunks=250, width=64, height=64, num_frames=2000, fps=60)
    check_ffmpeg()
    tracemalloc.start()
    try:
        made = write_mp4(source, tmp_path / "out.mp4")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.num_frames == 2000
    assert peak < 8 * chunk  # the whole clip would be 250
