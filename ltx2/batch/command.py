"""The command `ltx2 batch`: a file of requests to a folder of clips.

Clips appear whole, what is done is not done again, and processes that a launcher starts share the
work.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx2.errors import BadRequest
from ltx2.terminal import say

if TYPE_CHECKING:
    from ltx2.engine import Engine
    from ltx2.settings import Launch, Settings


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
    from ltx2.batch.ledger import Ledger, now, writable
    from ltx2.batch.order import ordered
    from ltx2.batch.run import DONE, Run, printer, tell_done
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
    began, tell = now(), printer(sys.stdout)
    with Ledger(arguments.out) as ledger, contextlib.redirect_stdout(sys.stderr):
        jobs = named(lines, row.name, settings)
        before = {key: record for key, record in ledger.records().items() if ledger.is_done(record)}
        if launch.rank == 0:
            tell_done(jobs, before, tell)
        left = [job for job in jobs if job.key not in before]
        if not left:
            say(f"all of {len(jobs)} are done")
            return DONE
        numbers = {job.line for job in left}
        prepared = checked([line for line in lines if line.number in numbers], row, settings)
        resolved = resolve(wanted, settings, **needs)
        if launch.rank == 0:
            introduce(resolved, wanted)
        engine = _engine(resolved, settings, arguments.device, launch)
        planned = ordered(judged(left, prepared, engine))
        with interruptible() as stopped:
            run = Run(engine, ledger, launch, began, stopped, tell)
            run.work_through(planned)
            run.wait_for_others(planned)
    say(run.summary(len(jobs), len(before)))
    return run.exit_code


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

    own = own_device(device or settings.device, launch)
    engine = Engine.open(resolved, settings, device=own)
    engine.own_process()
    return engine
