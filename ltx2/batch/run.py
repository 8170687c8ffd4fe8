"""One process's part of a batch: taking jobs, making clips, telling results."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from ltx2.batch.jobs import Job
from ltx2.batch.ledger import Ledger, Record, ToBatch
from ltx2.batch.order import Planned, shares, turns
from ltx2.errors import BadRequest, Cancelled, DeviceLost, Ltx2Error, TooLarge
from ltx2.settings import Launch
from ltx2.terminal import say

if TYPE_CHECKING:
    from ltx2.engine import Engine

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between two looks at what other processes are doing
DONE, FAILED, BAD_INPUT = 0, 1, 2  # as of every command


Tell = Callable[[Record], None]


def printer(stdout: TextIO) -> Tell:
    """Prints each record as a line there, whatever stdout is for libraries meanwhile."""

    def tell(record: Record) -> None:
        stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        stdout.flush()

    return tell


def tell_done(jobs: Sequence[Job], before: dict[str, Record], tell: Tell) -> None:
    """The results of earlier runs: every request has its line on stdout."""
    for job in jobs:
        if job.key in before:
            tell({**before[job.key], "line": job.line})


@dataclass(slots=True)
class Run:
    """One process's part of a batch."""

    engine: "Engine"
    ledger: Ledger
    launch: Launch
    began: str
    stopped: Callable[[], bool]
    tell: Tell
    made: int = 0
    failures: list[Ltx2Error] = field(default_factory=list)

    def work_through(self, planned: Sequence[Planned]) -> None:
        """Every job that no other process has taken or finished."""
        parts = shares(planned, self.launch.processes)
        for item in turns(parts, self.launch.rank):
            self._take(item)

    def wait_for_others(self, planned: Sequence[Planned]) -> None:
        """Until every job is finished, doing what a lost process has left.

        A launcher ends all of its processes with the first that fails.
        """
        while open_jobs := [item for item in planned if not self._is_settled(item)]:
            for item in open_jobs:
                self._take(item)
            time.sleep(LOOK_SECONDS)

    def summary(self, jobs: int, before: int) -> str:
        """The last line for people."""
        mine = f"process {self.launch.rank}: " if self.launch.processes > 1 else ""
        return (
            f"{mine}{self.made} made, {len(self.failures)} failed,"
            f" {before} of {jobs} were done before"
        )

    @property
    def exit_code(self) -> int:
        """0 where all went well, 2 where requests alone were to blame for what did not, else 1."""
        if not self.failures:
            return DONE
        asked = all(isinstance(error, BadRequest | TooLarge) for error in self.failures)
        return BAD_INPUT if asked else FAILED

    def _is_settled(self, item: Planned) -> bool:
        """Done, or failed since this command began: another run may try it again."""
        record = self.ledger.records().get(item.job.key)
        if record is not None and "error" in record:
            return record["finished_at"] >= self.began
        return self.ledger.is_done(record)

    def _take(self, item: Planned) -> None:
        if self.stopped():
            raise Cancelled("between two clips; the same command goes on from here")
        if self._is_settled(item):
            return
        with self.ledger.claimed(item.job.key) as deliver:
            # Asked once more: it may have been finished before it could be claimed.
            if deliver is None or self._is_settled(item):
                return
            about = {"line": item.job.line, "job": item.job.key}
            made = self._made(item, deliver)
            self.tell(self.ledger.add({**about, **made}))

    def _made(self, item: Planned, deliver: ToBatch) -> Record:
        """The result of a job or its error. Raises Cancelled, and DeviceLost as nothing would work
        after it.
        """
        from ltx2.progress import Progress
        from ltx2.session import generate

        say(f"line {item.job.line}: {item.plan.width}x{item.plan.height},"
            f" {item.plan.duration:.1f} s, {item.plan.mode}")  # fmt: skip
        with _shown(alone=self.launch.processes == 1) as listener:
            progress = Progress(listener, cancelled=self.stopped)
            try:
                receipt = generate(
                    item.job.request, engine=self.engine, deliver=deliver, progress=progress
                )
            except (Cancelled, DeviceLost):
                raise
            except Ltx2Error as error:
                failure = error
            except Exception as error:
                logger.exception("line %s failed by a fault of this program", item.job.line)
                failure = Ltx2Error(f"{type(error).__name__}: {error}; the log has its traceback")
            else:
                self.made += 1
                return {"file": deliver.target.name, **receipt.as_dict()}
        self.failures.append(failure)
        problems = failure.problems if isinstance(failure, BadRequest) else [str(failure)]
        say(*(f"line {item.job.line}: error: {problem}" for problem in problems))
        return {"error": f"{failure.code}: {failure}", "problems": problems}


@contextlib.contextmanager
def _shown(*, alone: bool) -> Iterator[Callable[[Any], object] | None]:
    """A progress bar; none where several processes write to one terminal."""
    from ltx2.progress_bar import ProgressBar

    if not alone:
        yield None
        return
    with ProgressBar(sys.stderr) as bar:
        yield bar
