"""The command `ltx2`. Results go to stdout, everything for people to stderr; exit 0 done, 2 bad
input, 1 anything else.
"""

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ltx2.errors import BadRequest, Cancelled, Ltx2Error, TooLarge
from ltx2.terminal import say, show
from ltx2.version import VERSION

if TYPE_CHECKING:
    from ltx2.delivery.file import ToFile
    from ltx2.fit import Decision
    from ltx2.prepare import Prepared
    from ltx2.request import Request
    from ltx2.results import Receipt
    from ltx2.settings import Launch, Settings
    from ltx2.weights import Resolved
    from pipelines.plan import Plan, RestorePlan

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Reports its own refusals in the form of all others, and takes options by their whole names
    only.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as argparse's own
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Refuse as everything else is refused."""
        raise BadRequest(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = argparse.Namespace(json="--json" in argv)  # until the options are read
    debug = False
    try:
        with terminated_as_interrupted():
            from ltx2.batch.command import run_batch
            from ltx2.settings import Settings
            from ltx2.video_command import run_restore

            arguments, rest = build_parser().parse_known_args(argv)
            # These tell all problems at once.
            reporting = (run_generate, run_plan, run_restore, run_batch)
            arguments.unknown = unknown_problems(rest, getattr(arguments, "options", None))
            if arguments.unknown and arguments.run not in reporting:
                raise BadRequest(arguments.unknown)
            settings = Settings.from_env()
            debug = settings.debug
            return arguments.run(arguments, settings)
    except Cancelled as error:
        say(f"stopped: {error}")
        return INTERRUPTED
    except KeyboardInterrupt:
        say("stopped")
        return INTERRUPTED
    except Ltx2Error as error:
        if debug:
            traceback.print_exc()
        problems = error.problems if isinstance(error, BadRequest) else [str(error)]
        say(*(f"error: {problem}" for problem in problems))
        if arguments.json:
            show({"error": f"{error.code}: {error}", "problems": problems})
        return BAD_INPUT if isinstance(error, BadRequest | TooLarge) else FAILED
    except BrokenPipeError:
        # The reader of stdout has gone, as with `| head`. Without this Python would complain once
        # more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def build_parser() -> Parser:
    """The command line. Options of a request come from its schema."""
    from ltx2 import gateway_entry, inventory, video_command
    from ltx2.batch import command as batch_command
    from ltx2.deploy import command as deploy_command
    from ltx2.examples import epilog
    from ltx2.flags import add_request_flags, add_run_flags
    from ltx2.serve import command as serve_command

    parser = Parser(prog="ltx2", description="LTX-2: video with sound from a text and a picture.")
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {VERSION}", help="print it and exit"
    )
    parser.set_defaults(json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    generate = commands.add_parser("generate", help="write an MP4")
    add_request_flags(generate)
    add_run_flags(generate)
    generate.add_argument(
        "--parallel",
        action="store_true",
        help="share the clip between the processes that torchrun or accelerate started, one a GPU",
    )
    generate.set_defaults(run=run_generate)

    plan = commands.add_parser("plan", help="show what would be run, as JSON, without weights")
    add_request_flags(plan)
    plan.set_defaults(run=run_plan)
    videos = video_command.add_commands(commands)
    for command in (generate, plan, *videos):
        command.add_argument(
            "--checkpoint",
            help="which weights: auto, a name of `ltx2 models`, a folder, a file or a repository; "
            "default is the setting, and auto without one",
        )

    models = commands.add_parser("models", help="the models and whether they are on this machine")
    models.set_defaults(run=inventory.run_models)
    loras = commands.add_parser("loras", help="the LoRAs that are known by name")
    loras.set_defaults(run=inventory.run_loras)
    doctor = commands.add_parser("doctor", help="what this machine can run and why not")
    inventory.add_doctor_flags(doctor)
    doctor.set_defaults(run=inventory.run_doctor)
    download = commands.add_parser("download", help="fetch or bake weights, resumable and verified")
    inventory.add_download_flags(download)
    download.set_defaults(run=inventory.run_download)
    batch_command.add_command(commands)
    serve_command.add_command(commands)
    deploy_command.add_command(commands)
    gateway_entry.add_command(commands)
    for command in (generate, *videos, models, loras, doctor, download):
        command.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout and nothing else"
        )
    for command in videos:
        command.set_defaults(options=list(command._option_string_actions))
    for name, command in commands.choices.items():
        command.epilog = (epilog(name) or "").replace("%", "%%")
        command.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def run_generate(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Everything refusable is refused before torch is imported and before weights are touched."""
    from ltx2.delivery.file import ToFile
    from ltx2.flags import chosen_settings, read_request
    from ltx2.lora_files import LoraFiles
    from ltx2.prepare import prepare, with_loras
    from ltx2.session import execute
    from ltx2.settings import Launch
    from ltx2.weights import resolve, row_of

    launch = Launch.from_env()
    known = [
        *arguments.unknown,
        *output_problems(arguments.output),
        *device_problems(arguments.device),
        *launch.problems(parallel=arguments.parallel, fp8_products=settings.fp8_products),
    ]
    request = read_request(arguments, known)
    settings = chosen_settings(arguments, settings)
    wanted = arguments.checkpoint or settings.checkpoint
    needs = needs_of(request)
    row, _ = row_of(wanted, settings, **needs)
    limits, media, sources = settings.limits(), settings.media_limits(), settings.lora_sources()
    prepared = prepare(
        request, checkpoint=row, limits=limits, media=media, sources=sources, fetch=False
    )
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
        resolved = resolve(wanted, settings, **needs)
        # Planned again, by the weights: LoRAs must fit them before they are fetched, and `auto`
        # took the GPU for usable until torch was asked.
        prepared = with_loras(
            prepared,
            checkpoint=resolved.row,
            limits=limits,
            files=LoraFiles.at(resolved, settings),
            sources=sources,
        )
        if launch.rank == 0:
            introduce(resolved, wanted)
            explain(prepared.plan)
        deliver = ToFile(arguments.output)
        if arguments.parallel:
            receipt = render_together(
                prepared, deliver, resolved, settings, arguments.device, launch
            )
            if receipt is None:  # the first process has it
                return DONE
        else:
            run = partial(execute, prepared, deliver=deliver)
            receipt = render(run, resolved, settings, arguments.device)
    return conclude(receipt, arguments, said=prepared.plan.warnings)


def render(
    run: "Callable[..., Receipt]", resolved: "Resolved", settings: "Settings", device: str | None
) -> "Receipt":
    """Load and run: `run` takes an engine and a progress. This is where torch comes in."""
    from ltx2.engine import Engine
    from ltx2.progress import Progress
    from ltx2.progress_bar import ProgressBar

    engine = Engine.open(resolved, settings, device=device)
    engine.own_process()
    with interruptible() as stopped, ProgressBar(sys.stderr) as bar:
        engine.on_decision = _teller(bar.say, is_set=settings.residency is not None)
        return run(engine=engine, progress=Progress(bar, cancelled=stopped))


def render_together(
    prepared: "Prepared",
    deliver: "ToFile",
    resolved: "Resolved",
    settings: "Settings",
    device: str | None,
    launch: "Launch",
) -> "Receipt | None":
    """The same for one process of several, of which the first shows how far they are and answers;
    None for the others.
    """
    from ltx2.engine import Engine
    from ltx2.parallel import team
    from ltx2.processes import own_device
    from ltx2.progress import Progress
    from ltx2.progress_bar import ProgressBar

    own = own_device(device or settings.device, launch)
    engine = Engine.open(resolved, settings, device=own)
    engine.own_process()
    with team(launch, own) as together, interruptible() as stopped:
        run = partial(together.execute, prepared, engine=engine, deliver=deliver)
        if not together.leads:
            return run(progress=Progress(cancelled=stopped))
        with ProgressBar(sys.stderr) as bar:
            engine.on_decision = _teller(bar.say, is_set=settings.residency is not None)
            return run(progress=Progress(bar, cancelled=stopped))


def _teller(tell: Callable[[str], object], *, is_set: bool) -> "Callable[[Decision], None]":
    """Says how a plan runs in the memory there is; once, since the run decides it anew."""
    told: set[str] = set()

    def on_decision(decision: "Decision") -> None:
        if decision.residency not in told:
            told.add(decision.residency)
            why = "it is set so; " if is_set else ""
            tell(f"memory: {decision.residency}, {why}{decision.reason}")

    return on_decision


def conclude(receipt: "Receipt", arguments: argparse.Namespace, *, said: Sequence[str]) -> int:
    """The end of a run: its result, or for people what only the run could tell and the file.

    `said` are the warnings that were shown before it.
    """
    result = receipt.as_dict()
    if arguments.json:
        show(result)
    else:
        say(*(f"warning: {warning}" for warning in result["warnings"] if warning not in said))
        say(written(receipt, arguments.output))
    return DONE


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that nothing half done is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the run to stop between two steps, a second one stops at once. Gives
    the question to ask.
    """
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not through sys.stderr: the signal may have come in the middle of a write to it.
        os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

    before = {kind: signal.signal(kind, ask) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def unknown_problems(rest: Sequence[str], options: Sequence[str] | None = None) -> list[str]:
    """What argparse did not know, so that it is refused together with everything else.

    `options` are those of a command that makes no request; None: the request's.
    """
    from ltx2.flags import similar_flag

    problems = []
    for token in rest:
        name = token.partition("=")[0]
        if name.startswith("-"):
            likely = similar_flag(name, options)
            hint = f"; did you mean {likely}?" if likely else "; see the command's --help"
            problems.append(f"{name} is no option here{hint}")
        elif not problems:
            problems.append(
                f"{token!r} belongs to no option; a prompt of several words needs quotes"
            )
    return problems


def output_problems(path: Path | None) -> list[str]:
    """Why a file could not be written, found before hours are spent on it.

    None stands for a new name in this folder. The only sure answer is to write something: access
    rights say nothing of a full disk or of one that is mounted to be read only.
    """
    if path is not None and path.suffix.lower() != ".mp4":
        return [f"--output must end in .mp4, which is what is written; got {path}"]
    folder = Path.cwd() if path is None else path.absolute().parent
    try:
        if path is not None and path.is_dir():
            return [f"--output must be a file; {path} is a folder"]
        if not folder.is_dir():
            return [f"--output must be in a folder that exists; create {folder} first"]
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"ltx2")
    except OSError as error:
        return [
            f"--output must be a file that can be written; {path or folder} cannot:"
            f" {error.strerror or error}"
        ]
    return []


def device_problems(device: str | None) -> list[str]:
    """What is wrong with the name of a device; whether it is there is known only to torch."""
    if device is None or re.fullmatch(r"cpu|cuda(:\d+)?", device):
        return []
    return [f"--device must be cpu, cuda or cuda:N; got {device!r}"]


def run_plan(arguments: argparse.Namespace, settings: "Settings") -> int:
    """The plan as JSON, without torch and without weights."""
    from ltx2.flags import read_request
    from ltx2.prepare import prepare
    from ltx2.weights import row_of

    request = read_request(arguments, arguments.unknown)
    row, reason = row_of(
        arguments.checkpoint or settings.checkpoint,
        settings,
        **needs_of(request),
    )
    limits, media, sources = settings.limits(), settings.media_limits(), settings.lora_sources()
    prepared = prepare(
        request, checkpoint=row, limits=limits, media=media, paths=True, sources=sources
    )
    say(f"checkpoint {row.name}: {reason}")
    if request.loras:
        say("note: whether a LoRA fits the model's layers is known where its weights are")
    explain(prepared.plan)
    show(prepared.plan.as_dict())
    return DONE


def needs_of(request: "Request") -> dict[str, Any]:
    """What must be on this machine for a request, as `resolve` takes it."""
    from ltx2.weights import parts_for

    upscalers = {
        "spatial_upscaler": request.spatial_upscaler,
        "temporal_upscaler": request.temporal_upscaler,
    }
    return {"mode": request.mode, "parts": parts_for(**upscalers)}


def written(receipt: "Receipt", output: Path | None) -> str:
    """A line about the file that was made."""
    made = receipt.as_dict()
    return (
        f"{output or receipt.encoded.path.name}: {made['width']}x{made['height']}, "
        f"{made['duration']:.1f} s at {made['fps']:g} fps, {made['bytes'] / 1e6:.1f} MB, "
        f"seed {made['seed']}"
    )


def introduce(resolved: "Resolved", wanted: str) -> None:
    """Say which weights run and why, and what a toy can make."""
    from ltx2.weights import note

    say(f"checkpoint {resolved.name}{' (auto)' if wanted == 'auto' else ''}: {resolved.reason}")
    if (told := note(resolved.row)) is not None:
        say(f"note: {told}")


def explain(plan: "Plan | RestorePlan") -> None:
    """Say what the plan changed and what it warns of."""
    for snap in plan.snaps:
        say(f"note: {snap.name} {snap.asked:g} became {snap.used:g}, on the model's grid")
    say(*(f"warning: {text}" for text in plan.warnings))
