"""Time and memory of what is measured."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ltx2.progress import Progress

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run."""

    seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds
    peaks: Mapping[str, float] = field(default_factory=dict)  # GiB, by stage
    reserved: float | None = None  # GiB that torch had taken from the GPU at most


Measured = Callable[[], Sample]


class Stages(Progress):
    """A progress that waits for the device at both ends of a stage, and notes the most memory held.

    On a GPU that is what torch allocated within the stage; on a CPU the process's own high mark so
    far, which never falls. A stage within another takes nothing of the other's peak away.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(None)
        self.device = device
        self.peaks: dict[str, float] = {}
        self.reserved = 0.0
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[None]:
        """Time a stage."""
        wait(self.device)
        self._note_peak()
        self._open.append(name)
        try:
            with super().stage(name, steps):
                yield
                wait(self.device)
        finally:
            self._note_peak()
            self._open.pop()

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """A stage within another, whose seconds are not the other's."""
        outer = self._open[-1] if self._open else None
        before = self.timings.get(name, 0.0)
        try:
            with self.stage(name):
                yield
        finally:
            if outer is not None:
                spent = self.timings[name] - before
                self.timings[outer] = self.timings.get(outer, 0.0) - spent

    def sample(self, seconds: float) -> Sample:
        """A run of so many seconds, with what was noted on its way."""
        return Sample(
            seconds=seconds, stages=self.timings, peaks=self.peaks, reserved=self.reserved or None
        )

    def _note_peak(self) -> None:
        """What was held since the last note belongs to the stage that is open."""
        if self._open:
            name = self._open[-1]
            self.peaks[name] = max(self.peaks.get(name, 0.0), peak_gib(self.device))
            self.reserved = max(self.reserved, reserved_gib(self.device))
        reset_peak(self.device)


def timed(device: torch.device, work: Callable[[], Any]) -> Sample:
    """One call, with the device idle before it and done after it."""
    wait(device)
    reset_peak(device)
    began = time.perf_counter()
    work()
    wait(device)
    seconds = time.perf_counter() - began
    return Sample(
        seconds=seconds,
        peaks={"whole": peak_gib(device)},
        reserved=reserved_gib(device) or None,
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin to look for a new peak, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float:
    """The most memory since the peak was reset, weights included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def reserved_gib(device: torch.device) -> float:
    """The most that torch had taken from a GPU since the peak was reset; 0 elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB
    return 0.0
