"""The order of a batch: what shares weights, LoRAs, prompt and shape is done one after the other.

A clip depends on its own request alone, so no order changes a result.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from ltx2.batch.jobs import Job
from ltx2.progress import expected_work
from pipelines.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job and the plan it was judged by."""

    job: Job
    plan: Plan

    @property
    def work(self) -> float:
        """How much there is to do, in the unit of `expected_work`."""
        return sum(expected_work(self.plan).values())


def _weights(item: Planned) -> Hashable:
    return item.plan.base.variant, item.plan.wanted_parts


def _loras(item: Planned) -> Hashable:
    return tuple((name, part.adapters) for name, part in item.plan.passes.items())


def _prompts(item: Planned) -> Hashable:
    return item.plan.prompt, item.plan.negative_prompt


def _shape(item: Planned) -> Hashable:
    return item.plan.width, item.plan.height, item.plan.num_frames


# What costs most to change comes first.
LEVELS: tuple[Callable[[Planned], Hashable], ...] = (_weights, _loras, _shape, _prompts)


def ordered(items: Sequence[Planned]) -> list[Planned]:
    """The same jobs with the fewest changes of weights, then of LoRAs, of shapes, of prompts; else
    as they stand in the file.
    """
    ranks: list[dict[Hashable, int]] = [{} for _ in LEVELS]
    for position, item in enumerate(items):
        for level, ranked in enumerate(ranks):
            ranked.setdefault(_path(item, level), position)
    return sorted(
        items, key=lambda item: [ranked[_path(item, n)] for n, ranked in enumerate(ranks)]
    )


def _path(item: Planned, level: int) -> Hashable:
    return tuple(key(item) for key in LEVELS[: level + 1])


def shares(items: Sequence[Planned], processes: int) -> list[list[Planned]]:
    """Consecutive parts of about equal work, one a process; some are empty where jobs are few."""
    parts: list[list[Planned]] = [[] for _ in range(processes)]
    total = sum(item.work for item in items)
    done = 0.0
    for item in items:
        middle = (done + item.work / 2) / total
        parts[min(processes - 1, int(middle * processes))].append(item)
        done += item.work
    return parts


def turns(parts: Sequence[Sequence[Planned]], process: int) -> Iterator[Planned]:
    """The jobs in the order in which a process looks at them: its own, then what others have not
    begun, from their ends, where they come last.
    """
    yield from parts[process]
    for distance in range(1, len(parts)):
        yield from reversed(parts[(process + distance) % len(parts)])
