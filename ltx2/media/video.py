"""An existing video: what is in the file, and its frames, upright, in RGB, at a constant rate."""

import subprocess
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ltx2.errors import MediaRefused
from ltx2.files import digest_of
from ltx2.media.encode import check_ffmpeg

if TYPE_CHECKING:
    import av.container
    import numpy as np

# Rates that files mean when they say something very near.
USUAL_RATES = tuple(
    Fraction(rate)
    for rate in (24, 25, 30, 50, 60, "24000/1001", "30000/1001", "60000/1001", 48, 12, 15, 120)
)
# Codecs whose packets an MP4 takes as they are, by ffmpeg's names.
COPIED_AUDIO = ("aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus")
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # ITU-T H.273, transfer characteristics
_BT2020 = 9  # ITU-T H.273, colour primaries
# ITU-T H.273, matrix coefficients, by ffmpeg's names; those of BT.2020 and others that are none of
# SDR video are refused by the names that people know.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m"}
_UNSPECIFIED = 2
_BT2020_MATRICES = (9, 10)
_OTHER_MATRICES = {
    0: "RGB", 8: "YCgCo", 11: "SMPTE 2085", 12: "chromaticity-derived", 13: "chromaticity-derived",
    14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
_UNTAGGED_HD = 720  # rows from which a file that does not say means BT.709, as players take it
_JITTER = Fraction(1, 10)  # of a frame, that a constant rate's times may be off
_CHUNK_BYTES = 32 * 2**20
UNKNOWN_CODEC = "unknown"
# What a track may end before what the file lists, for reasons other than being cut off.
_LEAST_MISSING = Fraction(1, 10)  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTrack:
    """A sound track of a file."""

    codec: str  # ffmpeg's name, or "unknown"
    sample_rate: int  # Hz, 0 where the codec is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What a file holds, as a player shows it."""

    path: Path
    sha256: str  # of the file, in hex
    width: int  # square pixels, upright
    height: int
    rate: Fraction  # frames a second, constant
    frames: int  # at that rate
    codec: str
    variable: bool  # its frames are not evenly spaced; they are read as if they were
    interlaced: bool
    audio: tuple[AudioTrack, ...]
    delay: Fraction  # seconds by which the picture begins after the file does
    stream: int  # index of the picture's track
    matrix: str | None  # ffmpeg's name of its YCbCr matrix; None for RGB

    @property
    def duration(self) -> Fraction:
        """Seconds of picture."""
        return self.frames / self.rate

    @property
    def uncopied(self) -> tuple[str, ...]:
        """Codecs of its sound that an MP4 does not hold."""
        codecs = dict.fromkeys(track.codec for track in self.audio)
        return tuple(codec for codec in codecs if codec not in COPIED_AUDIO)


def probe(path: Path) -> VideoFacts:
    """What `path` holds. Raises MediaRefused for what is no video that can be used.

    Reads the whole file once, for its times and its hash, and decodes a single frame.
    """
    import av
    import av.error

    if not path.is_file():
        raise MediaRefused(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a file")
    try:
        with av.open(str(path)) as container:
            return _facts(path, container)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise MediaRefused(f"{path} is no video that can be read: {said}") from error


def _facts(path: Path, container: "av.container.InputContainer") -> VideoFacts:
    pictures = [each for each in container.streams.video if "attached_pic" not in _kind(each)]
    if not pictures:
        held = ", ".join(sorted({each.type for each in container.streams})) or "nothing"
        raise MediaRefused(f"{path} has no picture, only {held}; give a video")
    stream: Any = pictures[0]
    tracks = _read_through(container, stream)
    times, last = sorted(tracks[stream.index].times), tracks[stream.index].last
    container.seek(0)
    frame: Any = next(container.decode(stream), None)
    if not times or frame is None:
        raise MediaRefused(f"{path} has a picture track without a single whole frame")
    _refuse_cut_off(path, container, tracks)
    _refuse_colours(path, frame)
    rate, variable = _rate(times, last, stream)
    width, height = _upright(frame, stream.sample_aspect_ratio)
    began = Fraction(container.start_time or 0, 1_000_000)
    return VideoFacts(
        path=path,
        sha256=digest_of(path),
        width=width,
        height=height,
        rate=rate,
        frames=len(times),
        codec=stream.codec_context.name,
        variable=variable,
        interlaced=bool(frame.interlaced_frame),
        audio=tuple(_sound(each) for each in container.streams.audio),
        delay=max(Fraction(0), times[0] - began) if container.streams.audio else Fraction(0),
        stream=stream.index,
        matrix=_matrix(frame, height),
    )


def _kind(stream: Any) -> str:  # noqa: ANN401 - PyAV's streams share no useful type
    return str(stream.disposition)


def _sound(stream: Any) -> AudioTrack:  # noqa: ANN401
    codec = stream.codec_context  # None where ffmpeg does not know what it is
    if codec is None:
        return AudioTrack(codec=UNKNOWN_CODEC, sample_rate=0)
    return AudioTrack(codec=codec.name, sample_rate=codec.sample_rate)


@dataclass(slots=True)
class _Track:
    """What was found of a track."""

    times: list[Fraction] = field(default_factory=list[Fraction])  # of the picture's frames, s
    packets: int = 0  # with those that are not shown
    latest: Fraction = Fraction(-1)  # when the one that is shown last begins, in seconds
    last: Fraction = Fraction(0)  # how long that one is, 0 if unsaid

    @property
    def end(self) -> Fraction:
        return self.latest + self.last


def _read_through(container: Any, picture: Any) -> dict[int, _Track]:  # noqa: ANN401
    """What is there of every track, by its index; of the picture when each frame is shown."""
    tracks = {stream.index: _Track() for stream in container.streams}
    rate = picture.average_rate or picture.guessed_rate or Fraction(25)
    for packet in container.demux():
        if not packet.size:
            continue
        track = tracks[packet.stream.index]
        track.packets += 1
        if packet.is_discard:
            continue
        pictured = packet.stream.index == picture.index
        if packet.pts is not None:
            time = packet.pts * packet.time_base
        elif pictured:  # a bare stream without times: frames follow one another
            time = len(track.times) / Fraction(rate)
        else:
            continue
        if time >= track.latest:
            track.latest, track.last = time, (packet.duration or 0) * packet.time_base
        if pictured:
            track.times.append(time)
    return tracks


def _refuse_cut_off(path: Path, container: Any, tracks: dict[int, _Track]) -> None:  # noqa: ANN401
    """Refuse a file that ends before what its head lists: of it only a part would come out."""
    for stream in (*container.streams.video, *container.streams.audio):
        track = tracks[stream.index]
        rate = stream.average_rate if stream.type == "video" else None
        slack = max(_LEAST_MISSING, 3 / (2 * Fraction(rate)) if rate else Fraction(0))
        listed = _listed(container, stream, track)
        if listed is not None and track.end + slack < listed:
            there = max(Fraction(0), track.end)
            raise MediaRefused(
                f"{path} lists {float(listed):.1f} s of {stream.type} and ends after "
                f"{float(there):.1f} s: it was cut off; copy or fetch it again"
            )
    whole = container.duration and Fraction(container.duration, 1_000_000)
    end = max(track.end for track in tracks.values())
    if whole and "matroska" in container.format.name and end + 5 * _LEAST_MISSING < whole:
        raise MediaRefused(
            f"{path} lists {float(whole):.1f} s and ends after {float(end):.1f} s: it was cut off; "
            "copy or fetch it again"
        )


def _listed(container: Any, stream: Any, track: _Track) -> Fraction | None:  # noqa: ANN401
    """Seconds at which a track ends by the file's head; None where that does not say or the track
    has as many packets as it lists.
    """
    if stream.frames:  # MP4, MOV and AVI have an index
        if track.packets >= stream.frames or not stream.duration:
            return None
        return (stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base
    hours, *rest = stream.metadata.get("DURATION", "").split(":")  # Matroska, as 00:01:02.345
    if not container.duration or len(rest) != 2:
        return None
    try:
        told = 3600 * int(hours) + 60 * int(rest[0]) + Fraction(rest[1])
    except ValueError:
        return None
    # A tag may have been copied from a longer file; the whole is always written anew.
    return min(told, Fraction(container.duration, 1_000_000))


def _rate(times: list[Fraction], last: Fraction, stream: Any) -> tuple[Fraction, bool]:  # noqa: ANN401
    """The constant rate of these times, or their average, and whether it is only that."""
    told = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if len(times) == 1:
        return (told[0] if told else Fraction(25)), False
    span = times[-1] - times[0]
    if not span:
        return (told[0] if told else Fraction(25)), False
    mean = (len(times) - 1) / span
    usual = sorted(USUAL_RATES, key=lambda rate: (rate not in told, abs(rate / mean - 1)))
    near = [rate for rate in usual if abs(rate / mean - 1) < Fraction(1, 100)]
    tick = Fraction(stream.time_base)
    for rate in (*near, *told, mean.limit_denominator(1001)):
        slack = tick + _JITTER / rate
        if all(abs(time - times[0] - n / rate) <= slack for n, time in enumerate(times)):
            return rate, False
    whole = span + (last or 1 / mean)
    return (len(times) / whole).limit_denominator(1001), True


def _upright(frame: Any, shape: Fraction | None) -> tuple[int, int]:  # noqa: ANN401
    """Width and height in square pixels, turned as the file says."""
    width, height = frame.width, frame.height
    if shape and shape != 1:  # as players do: the width changes, the rows stay
        width = max(1, round(width * shape))
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def _refuse_colours(path: Path, frame: Any) -> None:  # noqa: ANN401
    """Refuse what is not SDR, and numbers that would be read as other colours than they are."""
    transfer = _HDR_TRANSFERS.get(int(frame.color_trc))
    matrix = int(frame.colorspace)
    wide = int(frame.color_primaries) == _BT2020 or matrix in _BT2020_MATRICES
    if transfer or wide:
        raise MediaRefused(
            f"{path} is {f'HDR ({transfer})' if transfer else 'in BT.2020 colours'}; "
            "the model knows SDR: convert it to BT.709 first"
        )
    if not _has_matrix(frame) or matrix in _MATRICES or matrix == _UNSPECIFIED:
        return
    name = _OTHER_MATRICES.get(matrix, "an unknown one")
    raise MediaRefused(
        f"{path} has the colour matrix {matrix} of ITU-T H.273 ({name}), which is not read: "
        "convert it to BT.709 first"
    )


def _has_matrix(frame: Any) -> bool:  # noqa: ANN401
    return not (frame.format.is_rgb or "gray" in frame.format.name)


def _matrix(frame: Any, height: int) -> str | None:  # noqa: ANN401
    """The file's matrix, and where it does not say the one that players take."""
    if not _has_matrix(frame):
        return None
    usual = "bt709" if height >= _UNTAGGED_HD else "bt601"
    return usual if int(frame.colorspace) == _UNSPECIFIED else _MATRICES[int(frame.colorspace)]


def read_frames(video: VideoFacts) -> Generator["np.ndarray"]:
    """Chunks of uint8 (n, height, width, 3), RGB, `video.frames` in all.

    Frames of a variable rate are repeated or left out to stand at even times. One chunk is in
    memory at a time. Raises MediaRefused where the file has fewer whole frames than it lists.
    """
    import numpy as np

    shape = (video.height, video.width, 3)
    size = video.height * video.width * 3
    at_once = max(1, min(16, _CHUNK_BYTES // size)) * size
    left = video.frames
    last: np.ndarray | None = None
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _command(video),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,  # so that Ctrl-C reaches this process alone, which ends ffmpeg
        )
        assert process.stdout is not None  # Popen was asked for one
        try:
            while left and (data := process.stdout.read(min(at_once, left * size))):
                count = len(data) // size
                chunk = np.frombuffer(data[: count * size], np.uint8).reshape(count, *shape)
                if count:
                    yield chunk
                    last = chunk[-1:]
                    left -= count
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        # Evened out, the last frame may end a little before the others' average says.
        if left and (last is None or not video.variable or left > 2):
            raise MediaRefused(_broken(video, video.frames - left, errors))
    if left and last is not None:
        yield np.repeat(last, left, axis=0)


def _broken(video: VideoFacts, read: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines()
    why = f" ({said[0]})" if said else ""
    return (
        f"{video.path} lists {video.frames} frames, of which {read} could be decoded{why}; "
        "encode it anew and use the result"
    )


def _command(video: VideoFacts) -> Sequence[str]:
    """ffmpeg as a decoder: turned upright by itself, converted by the file's own matrix."""
    even = [f"fps=fps={video.rate}:round=near"] if video.variable else []
    convert = (
        f"scale={video.width}:{video.height}:out_range=pc:"
        + (f"in_color_matrix={video.matrix}:" if video.matrix else "")
        + "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    )
    return [
        check_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error",
        "-i", str(video.path.absolute()), "-map", f"0:{video.stream}",
        "-vf", ",".join([*even, convert, "format=rgb24"]), "-fps_mode", "passthrough",
        "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip
