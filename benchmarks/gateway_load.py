"""Many clients of one gateway on PostgreSQL: is a job lost or doubled, and how long does it take?

    python -m benchmarks.run gateway_load [--clients 200] [--seconds 60] [--think 20]

Clients create generations, some of them twice under one key, look at them, cancel some and list.
The platform fails some jobs, loses some webhooks and sends the others twice; the receiver of the
accounts' webhooks refuses some at first. When all has ended, what clients were told, what the
platform ran, what receivers got and what the ledger says must agree. Gateway and platform are
processes of their own. A problem is also where creating takes longer than `--most-ms` for one call
in twenty.
"""

import asyncio
import multiprocessing
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from benchmarks import gateway_platform
from gateway import ledger
from gateway.apart import live
from gateway.app import create_app
from gateway.backends.runpod import RunPod
from gateway.clock import SystemClock
from gateway.database import Database
from gateway.parts import Parts
from gateway.server import run, server_of
from gateway.stores.folder import FolderStore
from gateway.tables import LIVE, AccountRow, EventRow, GenerationRow, LedgerRow
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings
from ltx2.serve.server import listen

ACCOUNTS, CREDITS = 20, 10_000_000
FORM = {"prompt": "a heron lifts off a misty lake", "duration": 2, "resolution": "540p"}
TWICE, CANCELLED, LISTED = 0.2, 0.25, 0.3  # shares of what clients do
LOOKS = 2  # at each generation, before some are called off
DRAIN_SECONDS = 120.0
# How a job may have ended on the platform; one that was called off may have failed before.
ENDS = {"done": {"COMPLETED"}, "failed": {"FAILED"}, "cancelled": {"CANCELLED", "FAILED"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is asked, for how long. `think`: seconds between two creations of a client."""

    clients: int
    seconds: float
    think: float
    most_ms: float | None
    seed: int = 1


@dataclass(slots=True)
class Seen:
    """What the clients saw."""

    created: dict[str, str] = field(default_factory=dict)  # id by key
    create_ms: list[float] = field(default_factory=list)
    look_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def carry_out(load: Load, database_url: str, folder: Path) -> dict[str, Any]:
    """What came of it; `problems` is empty where everything agrees."""
    with (
        _process(gateway_platform.serve) as port,
        _process(serve_gateway, database_url, str(folder), f"http://127.0.0.1:{port}") as (
            gateway,
            keys,
        ),
    ):
        happened = f"http://127.0.0.1:{port}/happened"
        hooks = f"http://127.0.0.1:{port}/hooks"
        seen = asyncio.run(_use(load, gateway, keys, hooks))
        database = Database(database_url)
        try:
            drained = _drained(database)
            told = httpx.get(happened, trust_env=False, timeout=60).json()
            problems = [*seen.problems, *drained, *disagreements(database, seen.created, told)]
            states = _states(database)
        finally:
            database.close()
    p95 = _share(seen.create_ms, 95)
    if load.most_ms is not None and p95 > load.most_ms:
        problems.append(f"one creation in 20 took {p95:.0f} ms or more; {load.most_ms:g} may be")
    return {
        "database": database_url.partition(":")[0],
        "created": len(seen.created),
        "states": states,
        "create_p50_ms": round(_share(seen.create_ms, 50), 1),
        "create_p95_ms": round(p95, 1),
        "create_p99_ms": round(_share(seen.create_ms, 99), 1),
        "look_p95_ms": round(_share(seen.look_ms, 95), 1),
        "problems": problems,
    }


def serve_gateway(connection: Connection, url: str, folder: str, platform_url: str) -> None:
    """The process that answers; its address and the accounts' keys go through the connection."""
    listening = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    parts = _parts(url, Path(folder), f"{platform_url}/v2/ep", address)
    app = create_app(parts, apart=partial(live, parts))
    accounts, keys = app.state.core.accounts, list[str]()
    for number in range(ACCOUNTS):
        account = accounts.create(f"account {number}")
        accounts.grant(account.id, CREDITS, "for the load")
        keys.append(accounts.new_key(account.id, "load").key)
    connection.send((address, keys))
    run(server_of(app), listening)


def _parts(url: str, folder: Path, worker: str, address: str) -> Parts:
    return Parts(
        settings=GatewaySettings(
            folder=folder,
            database=url,
            worker=worker,
            modes="all",
            queue=10_000,
            calls_per_minute=1_000_000,
            poll_seconds=3.0,
            private_webhooks=True,
        ),
        backend=partial(RunPod, worker, gateway_platform.KEY),
        store=partial(FolderStore, folder / "files"),
        clock=SystemClock(),
        limits=Limits(),
        hook_url=address,
    )


@contextmanager
def _process(target: Any, *arguments: str) -> Iterator[Any]:  # noqa: ANN401 - what it sends first
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(30)
        if process.is_alive():
            process.kill()
            process.join()


async def _use(load: Load, gateway: str, keys: Sequence[str], hooks: str) -> Seen:
    seen = Seen()
    until = time.monotonic() + load.seconds
    limits = httpx.Limits(max_connections=load.clients)
    async with httpx.AsyncClient(
        base_url=gateway, limits=limits, trust_env=False, timeout=60
    ) as line:
        await asyncio.gather(
            *(
                _Client(number, line, keys[number % len(keys)], hooks, load, seen).live(until)
                for number in range(load.clients)
            )
        )
    return seen


class _Client:
    """One that comes again and again."""

    def __init__(
        self, number: int, line: httpx.AsyncClient, key: str, hooks: str, load: Load, seen: Seen
    ) -> None:
        self._number = number
        self._line = line
        self._headers = {"authorization": f"Bearer {key}"}
        self._hooks = hooks
        self._load = load
        self._seen = seen
        self._dice = random.Random(f"{load.seed} {number}")

    async def live(self, until: float) -> None:
        """Create, look, cancel and list until the time is over."""
        count = 0
        await asyncio.sleep(self._dice.uniform(0, self._load.think))
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                await self._round(f"{self._number}-{count}")
            except httpx.HTTPError as error:
                self._seen.problems.append(f"a call failed: {error!r}")
            count += 1
            spent = time.monotonic() - began
            pause = self._dice.uniform(0.5, 1.5) * self._load.think - spent
            await asyncio.sleep(max(0.0, min(pause, until - time.monotonic())))

    async def _round(self, key: str) -> None:
        form = {**FORM, "seed": self._dice.randrange(2**31), "webhook_url": self._hooks}
        tries = 2 if self._dice.random() < TWICE else 1
        answers = await asyncio.gather(*(self._create(key, form) for _ in range(tries)))
        names = {name for name in answers if name is not None}
        if len(names) != 1:
            self._seen.problems.append(f"key {key} gave {len(names)} generations")
            return
        (name,) = names
        self._seen.created[key] = name
        for _ in range(LOOKS):
            await asyncio.sleep(self._dice.uniform(0, 0.2) * self._load.think)
            await self._look(f"/api/generations/{name}")
        if self._dice.random() < CANCELLED:
            answer = await self._line.post(f"/api/generations/{name}/cancel", headers=self._headers)
            self._expect(answer, 200, 202)
        if self._dice.random() < LISTED:
            await self._look("/api/generations?limit=20")

    async def _create(self, key: str, form: dict[str, Any]) -> str | None:
        began = time.perf_counter()
        headers = {**self._headers, "idempotency-key": key}
        answer = await self._line.post("/api/generations", json=form, headers=headers)
        self._seen.create_ms.append(1000 * (time.perf_counter() - began))
        return answer.json()["id"] if self._expect(answer, 202) else None

    async def _look(self, path: str) -> None:
        began = time.perf_counter()
        answer = await self._line.get(path, headers=self._headers)
        self._seen.look_ms.append(1000 * (time.perf_counter() - began))
        self._expect(answer, 200)

    def _expect(self, answer: httpx.Response, *statuses: int) -> bool:
        if answer.status_code in statuses:
            return True
        self._seen.problems.append(f"{answer.request.url.path}: {answer.status_code} {answer.text}")
        return False


def _drained(database: Database) -> list[str]:
    """Wait until nothing is under way; what is left after DRAIN_SECONDS is a problem."""
    until = time.monotonic() + DRAIN_SECONDS
    while True:
        with database.read() as session:
            live = session.scalar(select(func.count()).where(GenerationRow.state.in_(LIVE)))
            waiting = session.scalar(select(func.count()).where(EventRow.state == "pending"))
        if not live and not waiting:
            return []
        if time.monotonic() > until:
            return [f"{live} generations and {waiting} webhooks are left"]
        time.sleep(0.2)


def disagreements(database: Database, created: dict[str, str], told: dict[str, Any]) -> list[str]:
    """Where clients, rows, platform, receivers and ledger do not say the same."""
    with database.read() as session:
        rows = {row.id: row for row in session.scalars(select(GenerationRow))}
        problems = ledger.faults(session)
        kinds: dict[str, Counter[str]] = {}
        for name, kind in session.execute(
            select(LedgerRow.generation_id, LedgerRow.kind).where(
                LedgerRow.generation_id.is_not(None)
            )
        ):
            kinds.setdefault(str(name), Counter())[kind] += 1
        free = session.scalar(select(func.sum(AccountRow.available)))
        held = session.scalar(select(func.sum(AccountRow.held)))
    names = set(created.values())
    if len(names) != len(created):
        problems.append(f"{len(created)} keys made {len(names)} generations")
    problems += [f"{name} was told of and is not there" for name in sorted(names - rows.keys())]
    problems += [f"{name} is there and nobody was told" for name in sorted(rows.keys() - names)]
    for name, row in rows.items():
        runs, end = told["runs"].get(name, 0), told["ends"].get(name)
        if runs > 1 or (runs == 0 and row.state != "cancelled"):
            problems.append(f"{name} is {row.state} and was run {runs} times")
        if end is not None and end not in ENDS.get(row.state, ()):
            problems.append(f"{name} is {row.state} here and {end} there")
        settled = "capture" if row.state == "done" else "release"
        if kinds.get(name) != Counter(("hold", settled)):
            problems.append(f"{name} is {row.state} with {dict(kinds.get(name, {}))}")
        if (events := told["events"].get(name, 0)) != 1:
            problems.append(f"{name} sent {events} events")
    paid = sum(row.credits for row in rows.values() if row.state == "done")
    if (free, held) != (ACCOUNTS * CREDITS - paid, 0):
        problems.append(f"{free} credits are free and {held} held after {paid} were paid")
    return problems


def _states(database: Database) -> dict[str, int]:
    with database.read() as session:
        query = select(GenerationRow.state, func.count()).group_by(GenerationRow.state)
        return {str(state): int(count) for state, count in session.execute(query)}


def _share(values: Sequence[float], per_cent: int) -> float:
    """What so many per cent of the values stay below."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[per_cent - 1]
