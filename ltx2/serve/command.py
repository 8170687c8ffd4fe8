"""The options of `ltx2 serve`, judged before anything that a server needs is imported."""

import argparse
import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ltx2.errors import BadRequest

if TYPE_CHECKING:
    from ltx2.settings import Settings
    from ltx2.worker.settings import WorkerSettings


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse's own
    """The command with its options."""
    serve = commands.add_parser("serve", help="the worker's job API on this machine")
    serve.add_argument(
        "--port", metavar="N", default="8000", help="default 8000; 0 takes one that is free"
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on, default 127.0.0.1; any other than loopback needs a key in "
        "LTX2_SERVE_KEY",
    )
    serve.add_argument("--device", help="cuda, cuda:1 or cpu; default the GPU where there is one")
    serve.add_argument(
        "--drain",
        metavar="SECONDS",
        default="0",
        help="how long Ctrl-C and SIGTERM let the running job go on; default 0, which stops it "
        "after its step",
    )
    serve.add_argument(
        "--checkpoint",
        help="which weights: auto, a name of `ltx2 models`, a folder, a file or a repository; "
        "default is the setting, and auto without one",
    )
    serve.set_defaults(run=run_serve)


def run_serve(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Serve until a signal comes. Everything refusable is refused before anything heavy loads."""
    from ltx2.worker.settings import WorkerSettings

    worker = WorkerSettings.from_env()
    port, drain = _judged(arguments, worker)

    import asyncio

    from ltx2.serve.server import listen, serve

    changes = {"checkpoint": arguments.checkpoint, "device": arguments.device}
    settings = replace(settings, **{name: value for name, value in changes.items() if value})
    listening = listen(arguments.host, port)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the address alone
        return asyncio.run(serve(listening, settings, worker, host=arguments.host, drain=drain))


def _judged(arguments: argparse.Namespace, worker: "WorkerSettings") -> tuple[int, float]:
    """Port and seconds to drain. Raises BadRequest with every problem."""
    from ltx2.cli import device_problems
    from ltx2.flags import number
    from ltx2.media.address import is_loopback

    problems = device_problems(arguments.device)
    port, drain = number(arguments.port), number(arguments.drain)
    if not isinstance(port, int) or not 0 <= port <= 65_535:
        problems.append(f"--port must be 0 to 65535; got {arguments.port!r}")
    if isinstance(drain, str) or not 0 <= drain <= 86_400:
        problems.append(f"--drain must be 0 to 86400 seconds; got {arguments.drain!r}")
    if not is_loopback(arguments.host) and worker.serve_key is None:
        problems.append(
            f"--host {arguments.host} lets other machines in; set LTX2_SERVE_KEY to the key they "
            "must send, or leave --host out"
        )
    if problems:
        raise BadRequest(problems)
    assert isinstance(port, int)
    assert not isinstance(drain, str)
    return port, float(drain)
