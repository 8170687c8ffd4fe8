"""`ltx2 studio`: gateway, studio and worker on this machine alone, free of charge."""

import logging
import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway import clips, logs, transitions
from gateway.alone import alone
from gateway.app import create_app
from gateway.backends.local import Model, ServeChild
from gateway.clock import SystemClock
from gateway.core import Core
from gateway.opening import open_store
from gateway.parts import Parts
from gateway.server import address, ended_by_signals, run, server_of
from gateway.tables import GenerationRow
from gateway.transitions import CUT_OFF
from ltx2.errors import ConfigError
from ltx2.gateway_settings import GatewaySettings, Modes
from ltx2.serve.server import listen
from ltx2.settings import Settings
from ltx2.terminal import lines, say

HOST = "127.0.0.1"
FOLDER = Path("ltx2-studio")
ACCOUNT = "This machine"
KEY_NAME = "this machine's studio"
# Nobody pays here: no page speaks of credits, and they never run out.
CREDITS, LEAST = 1_000_000_000, 1_000_000
FREE = "a studio on your own machine is free; they are filled up at every start"
DAY, WEEK = 86_400, 604_800  # seconds; a slow machine may take its time, and the night may pass


def studio(settings: Settings, *, port: int, checkpoint: str | None, folder: Path = FOLDER) -> int:
    """Serve until a signal comes. Raises ConfigError in one sentence for what keeps it from it:
    a port that is taken, a folder in use, weights that are missing, a worker that has ended.
    """
    listening = listen(HOST, port)
    url = address(listening, HOST)
    try:
        # The database that the settings below name: `ltx2 gateway serve` is kept from it, too.
        taken = f"another ltx2 studio uses {folder}; end it, or start this one in another folder"
        with alone(folder.absolute() / "gateway.db", taken=taken):
            files = folder.absolute() / "files"
            say(f"the worker starts; what it says is in {folder / 'worker.log'}")
            child = ServeChild(
                checkpoint=checkpoint, videos=files / "videos", log=folder / "worker.log"
            )
            try:
                model = child.loaded()
                tell(model)
                app = open_app(settings, child, model, folder=folder, url=url)
                serve_beside(app, child, listening, url, folder)
                say("the studio ends; the worker finishes its step first")
                put_down(cast("Core", app.state.core))
            finally:
                child.stop()
    finally:
        listening.close()
    return 0


def open_app(
    settings: Settings, child: ServeChild, model: Model, *, folder: Path, url: str
) -> FastAPI:
    """The gateway over the child, with its one account."""
    local = local_settings(folder, model, worker=child.url)
    parts = Parts(
        settings=local,
        backend=child.backend,
        store=partial(open_store, local),
        clock=SystemClock(),
        limits=settings.limits(),
        hook_url=url,
    )
    app = create_app(parts, local_account=ACCOUNT)
    core = cast("Core", app.state.core)
    fill_up(core)
    taken = take_again(core, parts.clock.now())
    if count := taken.again:
        videos = "1 video that was" if count == 1 else f"{count} videos that were"
        say(f"{videos} under way at the last end: begun again")
    for name in taken.given_up:
        say(f"{name} is given up. {CUT_OFF}")
    return app


def local_settings(folder: Path, model: Model, *, worker: str) -> GatewaySettings:
    """A gateway's settings for one person and one machine; the environment's are for servers."""
    # The embedded checkpoint is small: both modes are always there.
    modes = "all" if model.checkpoint == "tiny" else model.modes
    return GatewaySettings(
        folder=folder.absolute(),
        worker=worker,
        checkpoint=model.checkpoint,
        modes=cast("Modes", modes),
        fast_seconds=DAY,
        pro_seconds=DAY,
        ttl_seconds=WEEK,
        poll_seconds=0.5,
        queue=1000,
        calls_per_minute=100_000,
        private_webhooks=True,
    )


def tell(model: Model) -> None:
    """Which weights make the videos, and why."""
    say(f"checkpoint {model.checkpoint}: {model.reason}")
    if model.embedded:
        say(
            f"note: {model.checkpoint} is a toy: it makes coloured shapes that move over patterned "
            "grounds, whatever else is asked for"
        )


def fill_up(core: Core) -> None:
    """Give the account what it needs to forget about credits, and end the keys of earlier starts:
    each start has one of its own.
    """
    account, available = next(
        (each, free) for each, free, _ in core.accounts.all() if each.name == ACCOUNT
    )
    if available < LEAST:
        core.accounts.grant(account.id, CREDITS - available, FREE)
    earlier = [each for each in core.accounts.keys(account.id) if each.name == KEY_NAME][:-1]
    for key in earlier:
        if key.revoked_at is None:
            core.accounts.revoke(key.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenAgain:
    """What became of what was under way."""

    again: int  # how many wait anew
    given_up: tuple[str, ...] = ()  # ids of those that one worker too many ended with


def take_again(core: Core, now: datetime) -> TakenAgain:
    """Queue what a worker had that is gone with all its jobs, and give up what it seems to end of.

    What it finished is in the store, and is found there by the first look.
    """
    again, given_up = 0, list[str]()
    with core.database.write() as session:
        for row in _under_way(session):
            if clips.stored(core.store, row.id) is not None:
                continue
            if transitions.worker_gone(session, row, now):
                again += 1
            else:
                given_up.append(row.id)
    return TakenAgain(again=again, given_up=tuple(given_up))


def put_down(core: Core) -> None:
    """Note of what the worker is at that it is stopped: it does not end by that video."""
    with core.database.write() as session:  # closed with the app, it opens anew
        for row in _under_way(session):
            transitions.worker_stopped(row)
    core.database.close()


def _under_way(session: Session) -> list[GenerationRow]:
    states = ("submitted", "running")
    query = select(GenerationRow).where(GenerationRow.state.in_(states)).with_for_update()
    return list(session.scalars(query))


def serve_beside(
    app: FastAPI, child: ServeChild, listening: socket.socket, url: str, folder: Path
) -> None:
    """Answer until a signal comes or the worker ends, which is a ConfigError."""
    server = server_of(app)
    ended = threading.Event()
    threading.Thread(
        target=_watch, args=(child, server, ended), name="worker watch", daemon=True
    ).start()
    with ended_by_signals(server), (folder / "gateway.log").open("w", encoding="utf-8") as log:
        lines(url)
        say(f"the studio is open at {url}; its data are in {folder}; Ctrl-C ends it")
        written = logs.configure(stream=log)
        try:
            run(server, listening)
        finally:
            logging.getLogger().removeHandler(written)
    if ended.is_set():
        raise ConfigError(
            f"the worker has ended: {child.why()} (its log is {child.log}); start ltx2 studio "
            "again, and what was under way is begun again"
        )


def _watch(child: ServeChild, server: uvicorn.Server, ended: threading.Event) -> None:
    child.wait()
    if not server.should_exit:
        ended.set()
        server.should_exit = True
