"""`ltx2 gateway serve`: the app on a socket, until a signal comes."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gateway import logs
from gateway.alone import alone
from gateway.apart import Main, live
from gateway.app import create_app
from gateway.clock import SystemClock
from gateway.database import sqlite_file
from gateway.deployed import refuse_another
from gateway.loops import SWITCH_SECONDS
from gateway.opening import open_backend, open_store
from gateway.parts import Parts
from ltx2.gateway_settings import GatewaySettings
from ltx2.serve import server as serving
from ltx2.serve.server import WILDCARDS, listen
from ltx2.settings import Settings
from ltx2.terminal import lines, say
from ltx2.worker.settings import WorkerSettings

DONE = 0
LEAVE_SECONDS = 3  # for calls to be answered; open streams of events would never end by themselves
CUT_SECONDS = 2  # more, for those that were hung up on to notice it
# A line on which nothing is said is closed by its client first, or the two would cross: longer than
# the clients and proxies that we know keep one.
KEEP_ALIVE_SECONDS = 75


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serve the gateway that the environment describes. Raises ConfigError for what is missing."""
    gateway = GatewaySettings.from_env()
    refuse_another(gateway)
    parts = Parts(
        settings=gateway,
        backend=partial(open_backend, gateway),
        store=partial(open_store, gateway),
        clock=SystemClock(),
        limits=settings.limits(),
    )
    assert gateway.database is not None
    file = sqlite_file(gateway.database)
    with contextlib.nullcontext() if file is None else _only_process(file):
        # PostgreSQL takes any number of processes: one answers, another one works.
        apart: Main | None = partial(serve_loops, parts) if file is None else None
        _serve(create_app(parts, apart=apart), gateway, host=host, port=port)
    return DONE


def serve_loops(parts: Parts, wakes: Connection, telling: Connection) -> None:
    """The loops, in a process of their own."""
    _log(parts.settings)
    live(parts, wakes, telling)


def _only_process(file: Path) -> contextlib.AbstractContextManager[None]:
    """Keep others from our SQLite file."""
    return alone(
        file,
        taken=f"another gateway uses {file}, and SQLite is for one process: end that one, or set "
        "LTX2_GATEWAY_DATABASE to a PostgreSQL for both",
    )


def _serve(app: FastAPI, gateway: GatewaySettings, *, host: str, port: int) -> None:
    listening = listen(host, port)
    _log(gateway)
    if gateway.public_url is None:
        say(
            "note: without LTX2_GATEWAY_PUBLIC_URL the worker's platform cannot tell of a job's "
            "end; jobs are looked at now and then"
        )
    server = server_of(app)
    with ended_by_signals(server):
        lines(address(listening, host))
        run(server, listening)


def _log(gateway: GatewaySettings) -> None:
    keys = WorkerSettings.from_env()
    secrets = (keys.api_key, keys.serve_key, gateway.metrics_key)
    logs.configure(secrets=[key for key in secrets if key])


def address(listening: socket.socket, host: str) -> str:
    """Where this machine reaches the server."""
    name = WILDCARDS.get(host, host)
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{listening.getsockname()[1]}"


class Server(serving.Server):
    """Ends in order at a signal: calls are answered for LEAVE_SECONDS, then it hangs up on who is
    still there. At a second signal it does so at once.
    """

    hurried = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """A signal came."""
        self.hurried = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave; whoever is hung up on takes it as a client that went."""
        hanging_up = asyncio.create_task(self._hang_up())
        try:
            await super().shutdown(sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up(self) -> None:
        now = asyncio.get_running_loop().time
        until = now() + LEAVE_SECONDS
        while now() < until and not self.hurried:
            await asyncio.sleep(0.05)
        for each in list(self.server_state.connections):
            if each.transport is not None:
                each.transport.abort()


def server_of(app: FastAPI) -> Server:
    """The app's server; its `should_exit` ends it as a signal does."""
    return Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=LEAVE_SECONDS + CUT_SECONDS,
        )
    )


def run(server: Server, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; the loops finish their turns. Exits with 1 on failure."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with ended_by_signals(server):
        try:
            server.run(sockets=[listening])
        except SystemExit:  # with a code of uvicorn's own; its log says why
            sys.exit(1)


@contextlib.contextmanager
def ended_by_signals(server: Server) -> Iterator[None]:
    """SIGINT and SIGTERM end the server; one that comes before it runs, once it does."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, server.handle_exit) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
