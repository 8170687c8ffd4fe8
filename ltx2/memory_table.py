"""What clips of the usual sizes take of this machine's memory, for `ltx2 doctor`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltx2.extent import NAMED_SIZES
from ltx2.fit import Fit, device_need, host_need, lacking
from ltx2.planner import plan
from ltx2.request import Request
from ltx2.room import GIB, LIBRARIES, Room
from pipelines.checkpoints.files import Weights
from pipelines.checkpoints.quantise import Quantisation
from pipelines.memory.forecast import RESIDENCIES, forecast
from pipelines.memory.released import released_outlines
from pipelines.models import Checkpoint
from pipelines.residency import Residency

SECONDS = (5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A clip in one residency. Memory as it is asked for, slack included."""

    residency: Residency
    resolution: str
    seconds: int
    device_gib: float
    host_gib: float
    fits: bool | None  # None where there is no GPU to fit into

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "residency": self.residency,
            "resolution": self.resolution,
            "seconds": self.seconds,
            "device_gib": self.device_gib,
            "host_gib": self.host_gib,
            "fits": self.fits,
        }


def rows(fit: Fit, checkpoint: Checkpoint, room: Room) -> Iterator[Row]:
    """Every residency with every named size and length, by residency. Mode fast, two passes."""
    runs = {
        (name, seconds): fit.rehearsed(_plan(checkpoint, name, seconds))
        for name in NAMED_SIZES
        for seconds in SECONDS
    }
    # Also without a GPU here: the table then speaks of one that is elsewhere.
    slack = replace(room, libraries=LIBRARIES)
    for residency in RESIDENCIES:
        for (name, seconds), run in runs.items():
            found = forecast(run, residency)
            yield Row(
                residency=residency,
                resolution=name,
                seconds=seconds,
                device_gib=round(device_need(found, slack) / GIB, 1),
                host_gib=round(host_need(found) / GIB, 1),
                fits=None if room.device is None else lacking(found, room) is None,
            )


def released_fit(
    checkpoint: Checkpoint, quantisation: Mapping[str, Quantisation] = MappingProxyType({})
) -> Fit:
    """The released model of a row, by its architecture: none of its files is needed."""
    generation = checkpoint.generation
    # Both variants read their connectors from the same place, which is all that is asked of it.
    nothing = Weights(
        root=Path(),
        generation=generation,
        layout="original",
        parts={"connectors": (Path("connectors"),)},
    )
    outlines = released_outlines(generation, quantisation=quantisation)
    return Fit(nothing, outlines, checkpoint)


def table(found: list[Row]) -> list[tuple[str, ...]]:
    """Head and lines: a residency a line, a clip a column, memory as GPU + host in GiB."""
    clips = list(dict.fromkeys((row.resolution, row.seconds) for row in found))
    cells = {(row.residency, row.resolution, row.seconds): row for row in found}
    residencies = list(dict.fromkeys(row.residency for row in found))
    head = ("GPU + HOST GIB", *(f"{name} {seconds} S" for name, seconds in clips))
    return [
        head,
        *(
            (residency, *(_cell(cells[residency, *clip]) for clip in clips))
            for residency in residencies
        ),
    ]


def _cell(row: Row) -> str:
    mark = {True: " fits", False: " no", None: ""}[row.fits]
    return f"{row.device_gib:.1f} + {row.host_gib:.1f}{mark}"


def _plan(checkpoint: Checkpoint, resolution: str, seconds: int) -> Any:  # noqa: ANN401
    request = Request.parse(
        {"prompt": "x", "seed": 0, "resolution": resolution, "duration": seconds}
    )
    return plan(request, checkpoint=checkpoint)
