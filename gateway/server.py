"""`ltx2 gateway serve`: the app on a socket, until a signal comes."""

import contextlib
import socket
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway import logs
from gateway.alone import alone
from gateway.apart import Main, Told, work
from gateway.app import create_app
from gateway.clock import SystemClock
from gateway.core import build
from gateway.database import sqlite_file
from gateway.deployed import refuse_another
from gateway.loops import SWITCH_SECONDS
from gateway.opening import open_backend, open_store
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from ltx2.serve.server import WILDCARDS, listen
from ltx2.settings import Settings
from ltx2.terminal import lines, say
from ltx2.worker.settings import WorkerSettings

DONE = 0
# Open streams of events end with the process; pages open them again.
LEAVE_SECONDS = 3
# A line on which nothing is said is closed by its client first, or the two would cross: longer than
# the clients and proxies that we know keep one.
KEEP_ALIVE_SECONDS = 75


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serve the gateway that the environment describes. Raises ConfigError for what is missing."""
    gateway, limits = GatewaySettings.from_env(), settings.limits()
    backend, store = open_backend(gateway), open_store(gateway)
    refuse_another(gateway)
    assert gateway.database is not None
    file = sqlite_file(gateway.database)
    with contextlib.nullcontext() if file is None else _only_process(file):
        # PostgreSQL takes any number of processes: one answers, another one works.
        apart: Main | None = partial(_work, limits) if file is None else None
        app = create_app(
            gateway, backend=backend, store=store, clock=SystemClock(), limits=limits, apart=apart
        )
        _serve(app, gateway, host=host, port=port)
    return DONE


def _work(limits: Limits, wakes: Connection, telling: Connection) -> None:
    """The loops of the gateway that the environment describes, in a process of their own."""
    gateway, told = GatewaySettings.from_env(), Told(telling)
    _log(gateway)
    core = build(
        gateway,
        backend=open_backend(gateway),
        store=open_store(gateway),
        clock=SystemClock(),
        limits=limits,
        counts=told,
    )
    work(core, wakes, told)


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
    lines(address(listening, host))
    run(server_of(app), listening)


def _log(gateway: GatewaySettings) -> None:
    keys = WorkerSettings.from_env()
    secrets = (keys.api_key, keys.serve_key, gateway.metrics_key)
    logs.configure(secrets=[key for key in secrets if key])


def address(listening: socket.socket, host: str) -> str:
    """Where this machine reaches the server."""
    name = WILDCARDS.get(host, host)
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{listening.getsockname()[1]}"


def server_of(app: FastAPI) -> uvicorn.Server:
    """The app's server; its `should_exit` ends it as a signal does."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=LEAVE_SECONDS,
        )
    )


def run(server: uvicorn.Server, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; the loops finish their turns."""
    sys.setswitchinterval(SWITCH_SECONDS)
    # The server raises the signal again that ended it in order: nothing to tell of.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(1)
