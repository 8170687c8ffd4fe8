"""What of a batch must be refused, of all lines in one error and before any model is loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ltx2.batch.jobs import Job, Line
from ltx2.batch.order import Planned
from ltx2.errors import BadRequest, Ltx2Error
from ltx2.extent import combined
from ltx2.prepare import Prepared, prepare, with_loras
from ltx2.request import Request
from ltx2.weights import parts_for
from ltx2.words import refusals as words_refused
from pipelines.models import Checkpoint
from pipelines.values import Inputs

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.settings import Settings


@dataclass(frozen=True, slots=True)
class Refusals:
    """What was refused so far; `of(line)` collects, `end()` raises all of it at once."""

    found: list[Ltx2Error]

    @contextmanager
    def of(self, line: int) -> Iterator[None]:
        """Keep what this block refuses, as a refusal of this line."""
        try:
            yield
        except Ltx2Error as error:
            problems = error.problems if isinstance(error, BadRequest) else [str(error)]
            told = [f"line {line}: {problem}" for problem in problems]
            kind = type(error)
            self.found.append(kind(told) if isinstance(error, BadRequest) else kind(told[0]))

    def end(self) -> None:
        """Raise one error with every refusal, where there is any."""
        if self.found:
            raise combined(self.found)


def needs_of(requests: Sequence[Request]) -> dict[str, Any]:
    """What must be on this machine for all of them, as `resolve` takes it."""
    modes = {request.mode for request in requests}
    parts = frozenset(
        part
        for request in requests
        for part in parts_for(
            spatial_upscaler=request.spatial_upscaler, temporal_upscaler=request.temporal_upscaler
        )
    )
    return {"mode": "all" if len(modes) > 1 else modes.pop(), "parts": parts}


def checked(lines: Sequence[Line], row: Checkpoint, settings: "Settings") -> dict[int, Prepared]:
    """The plan of each line by its number, with its pictures looked at; needs neither torch nor
    weights. Pictures are not kept: there may be more of them than memory holds.
    """
    refusals, found = Refusals([]), dict[int, Prepared]()
    for line in lines:
        with refusals.of(line.number):
            prepared = prepare(
                line.request,
                checkpoint=row,
                limits=settings.limits(),
                media=settings.media_limits(),
                sources=settings.lora_sources(),
                fetch=False,
            )
            found[line.number] = replace(prepared, inputs=Inputs())
    refusals.end()
    return found


def judged(jobs: Sequence[Job], prepared: dict[int, Prepared], engine: "Engine") -> list[Planned]:
    """The same once the weights are known: LoRAs are fetched and must fit them, files must be
    there, and a plan must fit the memory.
    """
    refusals, found = Refusals([]), list[Planned]()
    for job in jobs:
        with refusals.of(job.line):
            fitting = with_loras(
                prepared[job.line],
                checkpoint=engine.checkpoint,
                limits=engine.limits,
                files=engine.lora_files,
                sources=engine.lora_sources,
            )
            if job.request.detailer:
                engine.detailer_downscale()  # raises where its file is not here
            if refused := words_refused(job.request, engine.checkpoint, engine.components.weights):
                raise combined(refused)
            engine.check_fits(fitting.plan)
            found.append(Planned(job=job, plan=fitting.plan))
    refusals.end()
    return found
