"""Small clips to encode, and what a player finds in the file afterwards."""

from pathlib import Path

import av
import numpy as np

from pipelines.values import Clip


class Frames:
    """Chunks of frames that know whether they were closed; `fails` is raised after the last."""

    def __init__(self, chunks, fails=None):
        self.left = iter(chunks)
        self.fails = fails
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        for chunk in self.left:
            return chunk
        if self.fails is not None:
            raise self.fails
        raise StopIteration

    def close(self):
        self.closed = True


def noise(count, *, width=64, height=48, seed=0):
    """`count` frames, uint8 (count, height, width, 3), that no codec can guess."""
    values = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3))
    return values.astype(np.uint8)


def tone(seconds, rate, channels=2):
    """A 440 Hz sine at half of full scale, float32 (channels, samples)."""
    time = np.arange(round(seconds * rate)) / rate
    return np.tile(0.5 * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)


def clip(frames, *, fps=24, audio=None, rate=None, num_frames=None, fails=None, size=None):
    """A clip that yields `frames` in chunks of eight."""
    chunks = [frames[start : start + 8] for start in range(0, len(frames), 8)]
    width, height = size or (frames.shape[2], frames.shape[1])
    return Clip(
        frames=Frames(chunks, fails),
        chunks=len(chunks),
        width=width,
        height=height,
        num_frames=len(frames) if num_frames is None else num_frames,
        fps=fps,
        audio=audio,
        audio_sample_rate=rate,
    )


def decoded(path: Path):
    """Every frame of a file as RGB, uint8 (frames, height, width, 3), by the file's own tags."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def sound(path: Path):
    """The sound of a file, float32 (channels, samples), the codec's last block whole."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def boxes(path: Path):
    """The names of a file's outermost boxes, in order."""
    data = path.read_bytes()
    names, at = [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode("ascii"))
        at += int.from_bytes(data[at : at + 4], "big")
    return names
