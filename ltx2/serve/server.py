"""`ltx2 serve`: the worker behind RunPod's job API, on loopback unless a key guards it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from ltx2.errors import ConfigError, Ltx2Error
from ltx2.serve.app import create_app
from ltx2.serve.rules import Rules
from ltx2.terminal import lines, say
from ltx2.weights import note

if TYPE_CHECKING:
    from ltx2.serve.endpoint import Endpoint
    from ltx2.settings import Settings
    from ltx2.worker.gate import Gate
    from ltx2.worker.settings import WorkerSettings

DONE, INTERRUPTED = 0, 130
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # each with this machine's own address


class Server(uvicorn.Server):
    """Leaves the signals to the command, which ends the jobs before the connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:  # noqa: ANN401 - as uvicorn's own
        """Takes none."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((address[0], port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number is not None and number > 0 else error
        raise ConfigError(
            f"cannot listen on {host} port {port}: {why}; --port 0 takes one that is free"
        ) from error


async def serve(
    listening: socket.socket,
    settings: "Settings",
    worker: "WorkerSettings",
    *,
    host: str,
    drain: float,
) -> int:
    """Answer calls at once, load meanwhile, and end in order when a signal comes."""
    from ltx2.worker.gate import Gate
    from ltx2.worker.log import configure
    from ltx2.worker.worker import Worker

    configure(worker, settings)

    def make() -> Gate:
        return Gate(Worker(settings, worker))

    app = create_app(
        make(),
        rules=Rules(execution_seconds=worker.execution_seconds),
        key=worker.serve_key,
        load=_load,
        renew=make,
    )
    endpoint: Endpoint = app.state.endpoint
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=5,
        )
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for kind in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(kind, _signalled, stop)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    introduce(address(listening, host), key=worker.serve_key is not None)
    asked = [asyncio.create_task(event.wait()) for event in (stop, endpoint.broken)]
    await asyncio.wait([running, *asked], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        say("stopping; a second signal stops at once")
    await endpoint.close(drain=drain)
    server.should_exit = True
    await running
    for task in asked:
        task.cancel()
    if endpoint.error is not None:
        _raise(endpoint.error)
    if not endpoint.settled.is_set():
        # Weights are still being read in a thread, and Python would wait for it.
        sys.stderr.flush()
        os._exit(DONE)
    return DONE


def _load(gate: "Gate") -> None:
    started = gate.worker.ensure_loaded()
    checkpoint = started.engine.checkpoint
    say(f"checkpoint {checkpoint.name}: {started.engine.reason}; ready for jobs")
    if (told := note(checkpoint)) is not None:
        say(f"note: {told}")


def _raise(error: BaseException) -> None:
    """The command line knows what to say of our own errors; any other shows its traceback."""
    if isinstance(error, Ltx2Error):
        raise error
    raise RuntimeError("the server cannot go on") from error


def _signalled(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(INTERRUPTED)  # the job's thread may never end, and Python would wait for it
    stop.set()


def address(listening: socket.socket, host: str) -> str:
    """The URL under which this machine reaches the server."""
    name = WILDCARDS.get(host, host)
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{listening.getsockname()[1]}/v2/local"


def introduce(url: str, *, key: bool) -> None:
    """The address on stdout, for programs; and for people a call that works as it stands."""
    with contextlib.redirect_stdout(sys.__stdout__):
        lines(url)
    bearer = ' -H "authorization: Bearer $LTX2_SERVE_KEY"' if key else ""
    say(
        f"serving RunPod's job API; try: curl -s {url}/runsync{bearer} "
        '-H \'content-type: application/json\' -d \'{"input": {"prompt": "rain on a roof"}}\''
    )
