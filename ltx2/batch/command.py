"""The command `ltx2 batch`: a file of requests to a folder of clips.

Clips appear whole, what is done is not done again, and processes that a launcher starts share the
work.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.batch.ledger import Ledger, Record, ToBatch, now, writable
from ltx2.batch.order import Planned, ordered, shares, turns
from ltx2.errors import BadRequest, Cancelled, DeviceLost, Ltx2Error, TooLarge
from ltx2.terminal import lines as out
from ltx2.terminal import say

if TYPE_CHECKING:
    from ltx2.batch.jobs import Job
    from ltx2.engine import Engine
    from ltx2.settings import Launch, Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between two looks at what other processes are doing


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """The command with its options."""
    from ltx2.flags import add_weight_flags

    batch = commands.add_parser(
        "batch", help="many requests, one JSON object a line; what is done is not done again"
    )
    batch.add_argument("requests", type=Path, help="the file of requests")
    batch.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder for the clips and results.jsonl; it is made where it is not there",
    )
    batch.add_argument(
        "--checkpoint",
        help="which weights: auto, a name of `ltx2 models`, a folder, a file or a repository; "
        "default is the setting, and auto without one",
    )
    add_weight_flags(batch)
    batch.set_defaults(run=run_batch, options=list(batch._option_string_actions))


def run_batch(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Everything refusable is refused, of all lines at once, before any model is loaded."""
    from ltx2.batch.check import checked, judged, needs_of
    from ltx2.batch.jobs import named, read_lines
    from ltx2.cli import device_problems, interruptible, introduce
    from ltx2.flags import chosen_settings
    from ltx2.settings import Launch
    from ltx2.weights import resolve, row_of

    launch = Launch.from_env()
    problems = [
        *arguments.unknown,
        *device_problems(arguments.device),
        *writable(arguments.out),
    ]
    lines = _lines(read_lines, arguments.requests, problems)
    settings = chosen_settings(arguments, settings)
    wanted = arguments.checkpoint or settings.checkpoint
    needs = needs_of([line.request for line in lines])
    row, _ = row_of(wanted, settings, **needs)
    began = now()
    with Ledger(arguments.out) as ledger, contextlib.redirect_stdout(sys.stderr):
        jobs = named(lines, row.name, settings)
        before = {key: record for key, record in ledger.records().items() if ledger.is_done(record)}
        if launch.rank == 0:
            _tell_done(jobs, before)
        left = [job for job in jobs if job.key not in before]
        if not left:
            say(f"all of {len(jobs)} are done")
            return _DONE
        numbers = {job.line for job in left}
        prepared = checked([line for line in lines if line.number in numbers], row, settings)
        resolved = resolve(wanted, settings, **needs)
        if launch.rank == 0:
            introduce(resolved, wanted)
        engine = _engine(resolved, settings, arguments.device, launch)
        planned = ordered(judged(left, prepared, engine))
        with interruptible() as stopped:
            run = Run(engine, ledger, launch, began, stopped)
            run.work_through(planned)
            run.wait_for_others(planned)
    say(run.summary(len(jobs), len(before)))
    return run.exit_code


_DONE, _FAILED, _BAD_INPUT = 0, 1, 2  # as `ltx2.cli`, which imports this file


def _lines(read: Callable[[Path], Any], path: Path, problems: list[str]) -> Any:  # noqa: ANN401
    """The lines of a file, or everything that is wrong with them and with the options."""
    try:
        found = read(path)
    except BadRequest as error:
        raise BadRequest([*problems, *error.problems]) from error
    if problems:
        raise BadRequest(problems)
    return found


def _engine(resolved: Any, settings: "Settings", device: str | None, launch: "Launch") -> "Engine":  # noqa: ANN401
    from ltx2.engine import Engine
    from ltx2.processes import own_device

    return Engine.open(resolved, settings, device=own_device(device or settings.device, launch))


def _tell_done(jobs: Sequence["Job"], before: dict[str, Record]) -> None:
    """The results of earlier runs: every request has its line on stdout."""
    for job in jobs:
        if job.key in before:
            _print({**before[job.key], "line": job.line})


def _print(record: Record) -> None:
    with contextlib.redirect_stdout(sys.__stdout__):
        out(json.dumps(record, ensure_ascii=False))


@dataclass(slots=True)
class Run:
    """One process's part of a batch."""

    engine: "Engine"
    ledger: Ledger
    launch: "Launch"
    began: str
    stopped: Callable[[], bool]
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
            return _DONE
        asked = all(isinstance(error, BadRequest | TooLarge) for error in self.failures)
        return _BAD_INPUT if asked else _FAILED

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
            _print(self.ledger.add({**about, **made}))

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
