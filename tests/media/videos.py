"""Small video files of every kind that people have: rates, rotations, codecs, sounds."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SOUND_RATE = 48000


def pictures(count, width, height):
    """A white square that moves right over a gradient, uint8 (count, height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = columns * 255 // width
    frames[..., 1] = rows * 255 // height
    frames[..., 2] = 90
    edge = max(8, height // 6)
    for number, frame in enumerate(frames):
        left = (width - edge) * (number % 48) // 48
        frame[height // 3 : height // 3 + edge, left : left + edge] = 255
    return frames


def video(
    path: Path,
    *,
    count=25,
    width=96,
    height=64,
    rate=Fraction(24),
    codec="libx264",
    pixels="yuv420p",
    times=None,
    rotation=0,
    shape=None,
    tags=None,
    audio="aac",
    late=0,
    frames=None,
):
    """Write a file with `count` frames of `pictures`, or `frames`, and a sine of the same length.

    `times` are the frames' own, in 1/90000 s; `late` ones begin by as much; `rotation` is in
    degrees; `shape` the pixels' aspect; `tags` attributes of the codec such as `color_trc`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if times is not None or late:
            stream.codec_context.time_base = Fraction(1, 90000)
            times = [round(90000 * n / rate) for n in range(count)] if times is None else times
        if rotation:
            stream.set_display_rotation(rotation)
        if shape:
            stream.codec_context.sample_aspect_ratio = shape
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        sound = None
        if audio:
            sound = container.add_stream(audio, rate=SOUND_RATE, layout="stereo")
        for number, picture in enumerate(
            pictures(count, width, height) if frames is None else frames
        ):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number] + late, Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _sine(container, sound, float(count / rate))
    return path


def _sine(container, stream, seconds):
    time = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    wave = (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    layout = stream.codec_context.format.name
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(wave), size):
        block = np.stack([wave[start : start + size]] * 2)
        if layout.startswith("s16"):
            block = (block * 32767).astype(np.int16)
        if not layout.endswith("p"):
            block = np.ascontiguousarray(block.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(block, format=layout, layout="stereo")
        frame.sample_rate, frame.pts = SOUND_RATE, start
        frame.time_base = Fraction(1, SOUND_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def packets(path: Path, track=0):
    """The bytes of every packet of a file's sound track, and their times in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        found = [packet for packet in container.demux(stream) if packet.size]
        return [bytes(p) for p in found], [float(p.pts * p.time_base) for p in found]


def first_picture_at(path: Path):
    """When the first frame is shown, in seconds."""
    with av.open(str(path)) as container:
        return float(next(container.decode(video=0)).time)
