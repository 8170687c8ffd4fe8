"""Time and memory of what is measured: a warm-up, then runs that take turns."""

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


Measured = Callable[[], Sample]


class Stages(Progress):
    """A progress that waits for the device at both ends of a stage, and notes the most memory held.

    On a GPU that is what torch allocated within the stage; on a CPU the process's own high mark so
    far, which never falls.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(None)
        self.device = device
        self.peaks: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, steps: int = 1) -> Iterator[None]:
        """Time a stage."""
        wait(self.device)
        reset_peak(self.device)
        with super().stage(name, steps):
            yield
            wait(self.device)
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak_gib(self.device))


def in_turns(
    works: Mapping[str, Measured], runs: int, tell: Callable[[str], object]
) -> dict[str, list[Sample]]:
    """Each work once to warm up, then all of them in turns, `runs` times."""
    for name, work in works.items():
        tell(f"warm-up of {name}: {work().seconds:.3f} s")
    found: dict[str, list[Sample]] = {name: [] for name in works}
    for turn in range(runs):
        for name, work in works.items():
            found[name].append(work())
        told = ", ".join(f"{name} {found[name][-1].seconds:.3f} s" for name in works)
        tell(f"run {turn + 1} of {runs}: {told}")
    return found


def timed(device: torch.device, work: Callable[[], Any]) -> Sample:
    """One call, with the device idle before it and done after it."""
    wait(device)
    reset_peak(device)
    began = time.perf_counter()
    work()
    wait(device)
    seconds = time.perf_counter() - began
    return Sample(seconds=seconds, peaks={"whole": peak_gib(device)})


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
