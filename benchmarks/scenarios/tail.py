"""The host's tail: decoded pixels to an MP4, ours beside diffusers' own way on the same frames."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import encode_video
from diffusers.video_processor import VideoProcessor

from benchmarks.bench import Bench, Unmeasurable
from benchmarks.results import Findings
from benchmarks.timing import Measured, timed
from benchmarks.turns import Samples
from ltx2.drawn import decoded_chunk
from ltx2.media.encode import write_mp4
from ltx2.results import Clip

SIZE = (1920, 1088)
CHUNK = 16  # frames that come from the decoder at once
# Copies of all frames in float32 that lie in memory at once: the decoder's, the documentation's,
# and 2.3 more that `encode_video` makes of the latter (measured, of 20 frames).
FLOAT_COPIES = 5
SHARE = 0.85  # of the memory that is free, which they may take
OURS = "ours, from the decoder's frames"
OURS_ON_BYTES = "ours, from bytes"
ON_BYTES = "encode_video on bytes"
ON_FLOATS = "encode_video on float frames"
TO_FLOATS = "postprocess_video to float frames"
WHOLE_TAIL = "postprocess_video and encode_video"  # as the documentation's snippet has them
IN_FLOATS = (OURS, ON_FLOATS, TO_FLOATS)
# Ratios that are told where both were measured: by frame, since not all frames fit in floats.
PAIRS = (
    (OURS, ON_FLOATS),
    (OURS, TO_FLOATS),
    (OURS, ON_BYTES),
    (OURS_ON_BYTES, ON_BYTES),
)
FPS = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this scenario."""
    parser.add_argument("--size", default=f"{SIZE[0]}x{SIZE[1]}", help="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=121)
    parser.add_argument("--float-frames", type=int, help="of ways in floats; default what fits")


def card(bench: Bench) -> dict[str, Any]:
    """What is encoded."""
    given = bench.arguments
    options = {"crf": bench.settings.crf, "preset": bench.settings.preset}
    return {"frames": f"{given.size}x{given.frames}", **options, "fps": FPS}


def measure(bench: Bench) -> Findings:
    """Seconds of every way, and ratios by frame."""
    width, height = map(int, bench.arguments.size.split("x"))
    count = bench.arguments.frames
    fit = bench.arguments.float_frames or fitting(width, height, count, available())
    if not fit:
        raise Unmeasurable("not even one frame fits in float32 beside its copies")
    found = bench.found
    pixels = synthetic(width, height, count)
    works: dict[str, Measured] = {
        name: (lambda work=work: timed(bench.device, work))
        for name, work in _works(bench, pixels, fit).items()
    }
    frames = {name: fit if name in IN_FLOATS else count for name in works}

    def show(samples: Samples) -> None:
        for name, runs in samples.items():
            row = found.put(name, runs, frames=frames[name])
            row["ms_per_frame"] = row["seconds"]["median"] / frames[name] * 1e3
        per_frame = {row["name"]: row["ms_per_frame"] for row in found.rows}
        for one, other in PAIRS:
            if {one, other} <= per_frame.keys():
                found.ratios[f"{one} / {other}, by frame"] = per_frame[one] / per_frame[other]
        if {OURS, TO_FLOATS, ON_FLOATS} <= per_frame.keys():
            whole = per_frame[TO_FLOATS] + per_frame[ON_FLOATS]
            found.ratios[f"{OURS} / {WHOLE_TAIL}, by frame"] = per_frame[OURS] / whole

    if fit < count:
        found.notes.append(f"what takes floats ran on {fit} frames: {count} do not fit in memory")
    bench.turns.take(works, show, needed={OURS})
    return found


def _works(bench: Bench, pixels: np.ndarray, fit: int) -> dict[str, Callable[[], object]]:
    sound = torch.zeros(2, round(len(pixels) / FPS * 24000))
    options: dict[str, Any] = {"fps": FPS, "audio_sample_rate": 24000}
    folder = bench.scratch
    height, width = pixels.shape[1:3]

    def write(name: str, count: int, chunks: Iterator[np.ndarray]) -> None:
        write_mp4(
            clip_of(chunks, (width, height, count), sound.numpy()),
            folder / f"{name}.mp4",
            crf=bench.settings.crf,
            preset=bench.settings.preset,
        )

    def ours() -> None:
        parts = decoded.split(CHUNK, dim=2)
        write("decoded", fit, (decoded_chunk(part) for part in parts))

    def ours_on_bytes() -> None:
        starts = range(0, len(pixels), CHUNK)
        write("bytes", len(pixels), (pixels[start : start + CHUNK] for start in starts))

    def stock_uint8() -> None:
        encode_video(
            torch.from_numpy(pixels),
            audio=sound,
            output_path=_name(folder, "stock_bytes"),
            **options,
        )

    # What a pipeline would have at hand is made before anything is timed.
    floats = np.divide(pixels[:fit], np.float32(255), dtype=np.float32)
    decoded = torch.from_numpy(pixels[:fit]).permute(3, 0, 1, 2)[None].to(bench.device).float()
    decoded = decoded.contiguous().div_(127.5).sub_(1)

    def stock_floats() -> None:
        encode_video(floats, audio=sound, output_path=_name(folder, "stock_floats"), **options)

    def postprocess() -> None:
        VideoProcessor(vae_scale_factor=32).postprocess_video(decoded, output_type="np")

    return {
        OURS: ours,
        OURS_ON_BYTES: ours_on_bytes,
        ON_BYTES: stock_uint8,
        ON_FLOATS: stock_floats,
        TO_FLOATS: postprocess,
    }


def _name(folder: Path, way: str) -> str:
    return str(folder / f"{way}.mp4")


def synthetic(width: int, height: int, count: int) -> np.ndarray:
    """Frames with what an encoder has to work for: a moving edge, a gradient and some grain."""
    dice = np.random.default_rng(0)
    ramp = np.linspace(20, 220, width, dtype=np.float32)[None, :, None]
    grain = dice.integers(0, 12, (height, width, 3), dtype=np.uint8)
    frames = np.empty((count, height, width, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[:] = np.roll(ramp, 7 * number, axis=1)
        frame += np.roll(grain, (3 * number, 5 * number), axis=(0, 1))
        left = (11 * number) % max(1, width - width // 6)
        frame[height // 4 : height // 2, left : left + width // 6] = (200, 40, 60)
    return frames


def clip_of(chunks: Iterator[np.ndarray], size: tuple[int, int, int], sound: np.ndarray) -> Clip:
    """Frames of one size (width, height, how many) as the decoder hands them over."""
    width, height, count = size

    def frames() -> Iterator[np.ndarray]:
        yield from chunks

    return Clip(
        frames=frames(),  # type: ignore[arg-type] - a generator without its other types
        chunks=-(-count // CHUNK),
        width=width,
        height=height,
        num_frames=count,
        fps=FPS,
        audio=sound,
        audio_sample_rate=24000,
    )


def fitting(width: int, height: int, count: int, free: int) -> int:
    """How many frames fit in float32 with all copies, in most of what is free."""
    one = width * height * 3 * 4 * FLOAT_COPIES
    return min(count, int(free * SHARE) // one)


def available() -> int:
    """Bytes of memory that processes may still take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("MemAvailable")]
    return int(line.split()[1]) * 1024
