"""The memory a plan takes in each residency: the moments of a rehearsal, with the weights added."""

from dataclasses import dataclass
from typing import get_args

from pipelines.memory.rehearsal import Moment, Rehearsed
from pipelines.residency import Residency, home, streams

RESIDENCIES: tuple[Residency, ...] = get_args(Residency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The most bytes that a plan takes in one residency."""

    residency: Residency
    device: int
    host: int  # of weights and tensors, beside what the process itself takes
    fullest: tuple[str, ...]  # the parts at work when the device is fullest
    parts: frozenset[str]  # all that are at work some time
    adapters: int  # bytes of the adapters on these


def forecast(run: Rehearsed, residency: Residency) -> Forecast:
    """What a device with memory of its own and the host take."""
    fullest = max(run.moments, key=lambda moment: device_bytes(run, moment, residency))
    waiting = {name: size for name, size in run.sizes.items() if home(residency, name) == "host"}
    host = sum(
        size.locked if streams(residency, name) else size.whole for name, size in waiting.items()
    )
    host += sum(run.adapters.get(name, 0) for name in waiting)
    return Forecast(
        residency=residency,
        device=device_bytes(run, fullest, residency),
        host=host + max(moment.host for moment in run.moments),
        fullest=fullest.parts,
        parts=frozenset(run.sizes),
        adapters=sum(run.adapters.values()),
    )


def host_forecast(run: Rehearsed) -> Forecast:
    """Where the host is the device: every weight once, and all tensors."""
    weights = sum(size.whole for size in run.sizes.values()) + sum(run.adapters.values())
    fullest = max(run.moments, key=lambda moment: moment.both)
    total = weights + fullest.both
    return Forecast(
        residency="resident",
        device=total,
        host=total,
        fullest=fullest.parts,
        parts=frozenset(run.sizes),
        adapters=sum(run.adapters.values()),
    )


def device_bytes(run: Rehearsed, moment: Moment, residency: Residency) -> int:
    """What the device holds in one moment: the weights there, and the tensors."""
    return weights_there(run, moment.parts, residency) + moment.device


def weights_there(run: Rehearsed, at_work: tuple[str, ...], residency: Residency) -> int:
    """The weights on the device while these parts are at work.

    Of parts that live there all, with the adapters that lie on them; of others those at work.
    """
    total = 0
    for name, size in run.sizes.items():
        adapters = run.adapters.get(name, 0)
        if home(residency, name) == "device":
            total += size.whole + adapters
        elif name in at_work and streams(residency, name):
            share = size.streamed / size.whole if size.whole else 0.0
            total += size.streamed + round(adapters * share)
        elif name in at_work:
            total += size.whole + adapters
    return total
