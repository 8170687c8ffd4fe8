"""A clip to an MP4, frame by frame, through the ffmpeg that imageio-ffmpeg brings."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ltx2.errors import BadRequest, ConfigError, DeliveryFailed, GenerationFailed
from ltx2.files import beside, cannot_write, digest_of
from pipelines.values import Clip

if TYPE_CHECKING:
    import numpy as np

# The encoder cuts its work by their number, so a number taken from the machine would make the
# bytes of a file depend on where it was written.
THREADS = 8
AUDIO_BIT_RATE = "192k"
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000,
             7350)  # Hz; ISO/IEC 14496-3, table of sampling frequencies  # fmt: skip
TITLE = 120  # characters of the prompt that players show as the title
_STDERR_TAIL = (
    2000  # characters of ffmpeg's own words in an error: its first complaint is the cause
)

# RGB is converted by the matrix that the file then claims (BT.709, limited range), with exact
# rounding, at H.264's default chroma position. `bitexact` keeps all processors to one arithmetic.
_CONVERT = (
    "scale=out_color_matrix=bt709:out_range=tv:out_chroma_loc=left:"
    "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact,format=yuv420p,"
    # The encoder believes the frames rather than its options, and RGB frames say nothing of these.
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)
_TAGS = ("-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709",
         "-color_trc", "bt709", "-chroma_sample_location", "left")  # fmt: skip
# No dates and no versions of ffmpeg in the file.
_EXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A written MP4."""

    path: Path
    bytes: int
    sha256: str  # of the file, in hex
    width: int
    height: int
    num_frames: int
    duration: float  # seconds
    audio_sample_rate: int | None  # Hz; None without an audio track


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedSound:
    """The sound of a file, to be taken over packet by packet."""

    path: Path
    sample_rate: int  # Hz, of its first track
    delay: Fraction = Fraction(0)  # seconds by which the picture begins after the file does


def write_mp4(
    clip: Clip,
    path: Path,
    *,
    sound: CopiedSound | None = None,
    metadata: Mapping[str, str] | None = None,
    crf: int = 19,
    preset: str = "veryfast",
) -> Encoded:
    """Write `clip` to `path` as H.264 and AAC. The file appears there whole or not at all.

    Two chunks of frames are in memory at a time: one is encoded while the next is decoded. The
    sound is cut or padded with silence to exactly num_frames / fps seconds; `sound` instead takes
    over every track of another file as it is, at its length. `metadata` goes into the file's
    comment as one JSON object and its "prompt" into the title; None writes neither. Equal clips
    give equal bytes. `clip.frames` is used up, and closed on every way out; what it raises passes
    through unchanged.
    Raises BadRequest for odd edges, GenerationFailed for frames or sound that are not what the
    clip says, DeliveryFailed where the file cannot be written, ConfigError without ffmpeg.
    """
    try:
        _check(clip)
        with beside(path) as folder:
            made = _encode(clip, folder, sound, metadata, crf, preset)
            encoded = Encoded(
                path=path,
                bytes=made.stat().st_size,
                sha256=digest_of(made),
                width=clip.width,
                height=clip.height,
                num_frames=clip.num_frames,
                duration=float(clip.num_frames / clip.fps),
                audio_sample_rate=_sample_rate(clip, sound),
            )
            try:
                made.replace(path)
            except OSError as error:
                raise cannot_write(path, error) from error
        return encoded
    finally:
        close = getattr(clip.frames, "close", None)
        if close is not None:
            close()


@cache
def check_ffmpeg() -> str:
    """The ffmpeg that is used, once it is known to have both encoders. Raises ConfigError."""
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
        command = [program, "-hide_banner", "-encoders"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            "no ffmpeg that runs; install imageio-ffmpeg, whose wheels bring one"
        ) from error
    present = {line.split()[1] for line in listed.splitlines() if len(line.split()) > 1}
    if missing := {"libx264", "aac"} - present:
        raise ConfigError(
            f"{program} lacks the encoders {', '.join(sorted(missing))}; "
            "the ffmpeg of imageio-ffmpeg's own wheels has them"
        )
    return program


def _sample_rate(clip: Clip, sound: CopiedSound | None) -> int | None:
    if sound is not None:
        return sound.sample_rate
    return None if clip.audio is None else clip.audio_sample_rate


def _check(clip: Clip) -> None:
    if clip.width % 2 or clip.height % 2 or min(clip.width, clip.height) < 2:
        raise BadRequest(
            f"an MP4 needs even edges of at least 2 pixels; got {clip.width}x{clip.height}"
        )
    if clip.num_frames < 1:
        raise GenerationFailed("the clip has no frames")
    if clip.audio is None:
        return
    if clip.audio.ndim != 2 or clip.audio.shape[0] not in (1, 2):
        raise GenerationFailed(
            f"sound must be (1 or 2 channels, samples); it has the shape {clip.audio.shape}"
        )
    if clip.audio_sample_rate not in AAC_RATES:
        raise GenerationFailed(
            f"AAC has no sample rate of {clip.audio_sample_rate} Hz; it has {AAC_RATES}"
        )


def _encode(
    clip: Clip,
    folder: Path,
    sound: CopiedSound | None,
    metadata: Mapping[str, str] | None,
    crf: int,
    preset: str,
) -> Path:
    """Run ffmpeg over the clip in `folder`; the file it made."""
    target, errors, report = folder / "clip.mp4", folder / "errors.txt", folder / "progress.txt"
    try:
        inputs = _inputs(clip, folder, sound, metadata)
    except OSError as error:
        raise cannot_write(folder.parent, error) from error
    command = [
        check_ffmpeg(), "-hide_banner", "-nostdin", "-loglevel", "error", "-progress", str(report),
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{clip.width}x{clip.height}",
        "-framerate", str(clip.fps), "-i", "pipe:0",
        *inputs,
        "-map_chapters", "-1",
        *_filter(clip, sound), "-fps_mode", "passthrough",
        "-c:v", "libx264", "-preset", preset, "-crf", str(crf), "-threads:v", str(THREADS), *_TAGS,
        *(["-c:a", "copy"] if sound else ["-c:a", "aac", "-b:a", AUDIO_BIT_RATE]),
        "-movflags", "+faststart", *_EXACT, str(target),
    ]  # fmt: skip
    with errors.open("wb") as stderr:
        # In a group of its own, so that Ctrl-C reaches this process alone and it ends ffmpeg.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            process_group=0,
        )
        try:
            alive = _feed(clip, process)
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            _hang_up(process)
    if status != 0 or not alive:
        said = errors.read_text(errors="replace").replace(str(folder), "...").strip()
        raise DeliveryFailed(f"ffmpeg failed with status {status}: {said[-_STDERR_TAIL:]}")
    written = _frames_written(report)
    if written != clip.num_frames:
        raise GenerationFailed(f"ffmpeg wrote {written} frames of {clip.num_frames}")
    return target


def _feed(clip: Clip, process: "subprocess.Popen[bytes]") -> bool:
    """Send every frame down the pipe and close it; False where ffmpeg stopped reading.

    A thread writes one chunk while the next is decoded: the pipe holds a fraction of a frame, and
    whoever writes waits for the encoder. Two chunks are in memory at most.
    """
    pipe = process.stdin
    assert pipe is not None  # Popen was asked for one
    sent = 0
    with ThreadPoolExecutor(1, thread_name_prefix="frames") as writer:
        writing: Future[bool] | None = None
        try:
            for chunk in clip.frames:
                _check_chunk(clip, chunk)
                sent += len(chunk)
                if sent > clip.num_frames:
                    break
                if writing is not None and not writing.result():
                    return False
                writing = writer.submit(_write, pipe, chunk)
                del chunk  # not beside the one that is decoded while it is written
            if sent != clip.num_frames:
                more = "more than " if sent > clip.num_frames else ""
                raise GenerationFailed(
                    f"the decoder gave {more}{min(sent, clip.num_frames)} frames "
                    f"for a clip of {clip.num_frames}"
                )
            if writing is not None and not writing.result():
                return False
        except BaseException:
            process.kill()  # or the thread would go on until its chunk is encoded
            raise
    try:
        pipe.close()
    except BrokenPipeError:
        return False
    return True


def _check_chunk(clip: Clip, chunk: "np.ndarray") -> None:
    shape = (clip.height, clip.width, 3)
    if chunk.dtype != "uint8" or chunk.ndim != 4 or chunk.shape[1:] != shape:
        raise GenerationFailed(
            f"frames must be uint8 (n, {clip.height}, {clip.width}, 3); "
            f"these are {chunk.dtype} {chunk.shape}"
        )


def _write(pipe: IO[bytes], chunk: "np.ndarray") -> bool:
    """Whether ffmpeg read the whole chunk."""
    import numpy as np

    try:
        pipe.write(np.ascontiguousarray(chunk).data)
    except BrokenPipeError:
        return False
    return True


def _hang_up(process: "subprocess.Popen[bytes]") -> None:
    """Reap the process and free the pipe, whose last bytes may have nobody to read them."""
    try:
        if process.stdin is not None:
            process.stdin.close()
    except BrokenPipeError:
        process.stdin = None
    process.wait()


def _filter(clip: Clip, sound: CopiedSound | None) -> list[str]:
    """How frames are converted, and how long after the file's begin the first of them is shown.

    By itself ffmpeg counts in whole frames; a copied sound may need the picture in between.
    """
    if sound is None or not sound.delay:
        return ["-vf", _CONVERT]
    ticks = Fraction(clip.fps).numerator * 100  # a second; a frame is a whole number of them
    late = f"settb=1/{ticks},setpts=PTS+{round(sound.delay * ticks)}"
    return ["-vf", f"{_CONVERT},{late}", "-enc_time_base", f"1:{ticks}"]


def _inputs(
    clip: Clip, folder: Path, copied: CopiedSound | None, metadata: Mapping[str, str] | None
) -> list[str]:
    """ffmpeg's second and third input, written to files, and which track comes from which.

    As files and not as arguments, so that prompts are not in the system's list of processes.
    """
    inputs: list[str] = []
    maps = ["-map", "0:v:0"]
    if copied is not None:
        inputs += ["-i", str(copied.path.absolute())]
        maps += ["-map", "1:a", "-map_metadata:s:a", "1:s:a"]
    elif clip.audio is not None:
        rate = clip.audio_sample_rate or 0
        sound = folder / "sound.f32"
        fit_audio(clip.audio, round(clip.num_frames * rate / clip.fps)).T.tofile(sound)
        channels = str(clip.audio.shape[0])
        inputs += ["-f", "f32le", "-ar", str(rate), "-ac", channels, "-i", str(sound)]
        maps += ["-map", "1:a:0"]
    if metadata is None:
        return [*inputs, *maps, "-map_metadata", "-1"]
    tags = folder / "tags.txt"
    tags.write_text(_tags(metadata), encoding="utf-8")
    inputs += ["-f", "ffmetadata", "-i", str(tags)]
    return [*inputs, *maps, "-map_metadata", str(inputs.count("-i"))]


def fit_audio(audio: "np.ndarray", samples: int) -> "np.ndarray":
    """Sound cut or padded with silence to `samples`; little-endian float32 (channels, samples)."""
    import numpy as np

    if not np.isfinite(audio).all():
        raise GenerationFailed("the sound has values that are not finite")
    fitted = np.zeros((audio.shape[0], samples), dtype="<f4")
    kept = min(samples, audio.shape[1])
    fitted[:, :kept] = np.clip(audio[:, :kept], -1.0, 1.0)
    return fitted


def _tags(metadata: Mapping[str, str]) -> str:
    """The file's tags in ffmpeg's own format, in which = ; # \\ and line ends are escaped."""
    comment = json.dumps({**metadata, "encoder": "ltx2"}, ensure_ascii=False, sort_keys=True)
    tags = {"comment": comment}
    if prompt := metadata.get("prompt"):
        one_line = " ".join(prompt.split())
        tags["title"] = one_line if len(one_line) <= TITLE else one_line[: TITLE - 1] + "…"
    escape = str.maketrans({sign: f"\\{sign}" for sign in "=;#\\\n"})
    lines = [f"{key}={value.translate(escape)}" for key, value in sorted(tags.items())]
    return "\n".join([";FFMETADATA1", *lines, ""])


def _frames_written(report: Path) -> int:
    """How many frames ffmpeg says it has written, in its last progress report."""
    counts = [line for line in report.read_text().splitlines() if line.startswith("frame=")]
    return int(counts[-1].removeprefix("frame=")) if counts else 0
