"""Works that take turns, for as long as there is time; one that fails costs the others nothing."""

import gc
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch

from benchmarks.results import Findings
from benchmarks.timing import Measured, Sample

Samples = dict[str, list[Sample]]
WORDS = 300  # characters of an error


def as_it_is(_name: str, work: Measured) -> Sample:
    """A warm-up that is a run like any other."""
    return work()


@dataclass(kw_only=True)
class Turns:
    """How works are run: how often, until when, and who is told.

    `ends` is a moment of `time.monotonic`, after which no new run begins but the first counted one
    of what is warm; None is never. `save` is called as soon as there is something new to keep.
    """

    found: Findings
    runs: int
    ends: float | None = None
    tell: Callable[[str], object] = print
    save: Callable[[], object] = field(default=lambda: None)

    @property
    def over(self) -> bool:
        """Whether the time there was is used up."""
        return self.ends is not None and time.monotonic() >= self.ends

    def take(
        self,
        works: Mapping[str, Measured],
        show: Callable[[Samples], object] | None = None,
        *,
        needed: Collection[str] | None = None,
        warm_up: Callable[[str, Measured], Sample] = as_it_is,
        once: Collection[str] = (),
    ) -> Samples:
        """Each work once to warm up, then all of them in turns.

        `show` is given all samples so far after each turn, to write them into the findings. A work
        that fails is dropped: of those that are `needed` (None: all) that is a problem, of others a
        note. Those of `once` have one counted run. What has no counted run is not in the answer.
        """
        needed = set(works) if needed is None else set(needed)
        left = dict(works)
        samples: Samples = {name: [] for name in works}
        for name in list(left):
            if self.over:
                self.found.notes.append(f"{name} was not begun: the time was up")
                del left[name]
            elif sample := self._run(name, lambda name=name: warm_up(name, left[name]), needed):
                self.tell(f"warm-up of {name}: {sample.seconds:.3f} s")
            else:
                del left[name]
        for turn in range(self.runs):
            if turn and self.over:
                self.found.notes.append(f"{turn} of {self.runs} turns were run: the time was up")
                break
            for name in list(left):
                if turn and (name in once or self.over):
                    continue
                if sample := self._run(name, left[name], needed):
                    samples[name].append(sample)
                else:
                    del left[name]
            told = ", ".join(
                f"{name} {each[-1].seconds:.3f} s" for name, each in samples.items()
                if len(each) > turn
            )  # fmt: skip
            self.tell(f"run {turn + 1} of {self.runs}: {told}")
            self.note({name: each for name, each in samples.items() if each}, show)
        return {name: each for name, each in samples.items() if each}

    def note(self, samples: Samples, show: Callable[[Samples], object] | None) -> None:
        """Write down what there is, and keep it."""
        if samples and show is not None:
            show(samples)
            self.save()

    def _run(self, name: str, work: Measured, needed: Collection[str]) -> Sample | None:
        """A sample, or None for a work that failed, which is told."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever fails, the rest is measured
            said = f"{name} failed: {type(error).__name__}: {str(error)[:WORDS]}"
        # Outside the handler: the error's traceback holds the tensors that did not fit.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.tell(said)
        (self.found.problems if name in needed else self.found.notes).append(said)
        self.save()
        return None
