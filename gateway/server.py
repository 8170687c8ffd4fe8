"""`ltx2 gateway serve`: the app on a socket, until a signal comes."""

import contextlib
import socket
import sys

import uvicorn
from fastapi import FastAPI

from gateway import logs
from gateway.alone import alone
from gateway.app import create_app
from gateway.clock import SystemClock
from gateway.database import sqlite_file
from gateway.opening import open_backend, open_store
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
# Seconds that a thread may keep Python to itself while others wait for it, a fifth of the usual: a
# call to the database is many short pieces of Python, and each would wait so long behind a loop.
SWITCH_SECONDS = 0.001


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serve the gateway that the environment describes. Raises ConfigError for what is missing."""
    gateway = GatewaySettings.from_env()
    backend, store = open_backend(gateway), open_store(gateway)
    with _only_process(gateway):
        app = create_app(
            gateway, backend=backend, store=store, clock=SystemClock(), limits=settings.limits()
        )
        _serve(app, gateway, host=host, port=port)
    return DONE


def _only_process(gateway: GatewaySettings) -> contextlib.AbstractContextManager[None]:
    """Keep others from our SQLite file; PostgreSQL takes any number."""
    assert gateway.database is not None
    file = sqlite_file(gateway.database)
    if file is None:
        return contextlib.nullcontext()
    return alone(
        file,
        taken=f"another gateway uses {file}, and SQLite is for one process: end that one, or set "
        "LTX2_GATEWAY_DATABASE to a PostgreSQL for both",
    )


def _serve(app: FastAPI, gateway: GatewaySettings, *, host: str, port: int) -> None:
    listening = listen(host, port)
    keys = WorkerSettings.from_env()
    secrets = (keys.api_key, keys.serve_key, gateway.metrics_key)
    logs.configure(secrets=[key for key in secrets if key])
    if gateway.public_url is None:
        say(
            "note: without LTX2_GATEWAY_PUBLIC_URL the worker's platform cannot tell of a job's "
            "end; jobs are looked at now and then"
        )
    lines(address(listening, host))
    run(server_of(app), listening)


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
