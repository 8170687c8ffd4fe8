"""The gateway behind its routes, put together once, and the loops that drive it."""

from dataclasses import dataclass
from typing import Protocol

from gateway.accounts import Accounts
from gateway.backends import Backend
from gateway.backends.observed import ObservedBackend
from gateway.clock import Clock
from gateway.database import LOOP_CONNECTIONS, Database
from gateway.front import Front
from gateway.generations import Generations, Queue
from gateway.loops import Loop, Loops, Works
from gateway.migrations import migrate
from gateway.offer import Worker, make_offer
from gateway.parts import Parts
from gateway.prices import read_prices
from gateway.reconcile import Reconciler
from gateway.stores import Store
from gateway.submit import Submitter, Times
from gateway.sweep import sweep
from gateway.uploads import Uploads
from gateway.webhooks.incoming import PATH, Incoming
from gateway.webhooks.outgoing.outbox import Outbox, sender

IDLE = 2.0  # seconds between two looks for work that nobody announced
RECONCILE = 0.5  # seconds between two looks for jobs that are due
WEBHOOKS = 1.0  # seconds between two looks into the outbox
SWEEP = 600.0  # seconds between two times of tidying up


class Counts(Protocol):
    """Who is told of what was done, as `gateway.metrics.Metrics`."""

    def platform(self, call: str, outcome: str) -> None:
        """The worker's platform was called; `outcome` is ok or the name of what it raised."""
        ...

    def webhook(self, outcome: str) -> None:
        """A webhook was tried."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One gateway in one process."""

    database: Database
    aside: Database  # the loops' own connections to it
    backend: Backend
    store: Store
    clock: Clock
    accounts: Accounts
    uploads: Uploads
    front: Front
    submitter: Submitter
    reconciler: Reconciler
    incoming: Incoming
    outbox: Outbox
    works: Works

    def close(self) -> None:
        """End in order; what is cut off is done again at the next start."""
        self.works.close()
        self.backend.close()
        self.aside.close()
        self.database.close()

    def sweep(self) -> None:
        """Forget what has had its time."""
        sweep(self.aside, self.uploads, self.clock.now())


def build(parts: Parts, *, counts: Counts | None = None, works: Works | None = None) -> Core:
    """Put a gateway together on the settings' database, brought up to date.

    `counts` is told of every call to the platform and of every webhook. `works` runs the loops;
    without it they run in this process once it is started.
    """
    settings, clock = parts.settings, parts.clock
    backend, store, loops = parts.backend(), parts.store(), Loops()
    works = works or loops
    if counts is not None:
        backend = ObservedBackend(backend, counts.platform)
    assert settings.database is not None
    settings.folder.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    migrate(database)
    aside = Database(settings.database, connections=LOOP_CONNECTIONS)
    prices = read_prices()
    worker = Worker(
        checkpoint=settings.checkpoint, modes=settings.loaded_modes, limits=parts.limits
    )
    offer = make_offer(worker, prices)
    reached = (parts.hook_url or settings.public_url or "").rstrip("/")
    times = Times(
        execution={"fast": settings.fast_seconds, "pro": settings.pro_seconds},
        ttl=settings.ttl_seconds,
        poll=settings.poll_seconds,
        hooked=bool(reached),
    )
    accounts = Accounts(database, clock)
    uploads = Uploads(database, store, clock)

    def hook(token: str) -> str | None:
        return reached + PATH.replace("{token}", token) if reached else None

    def to_submit() -> None:
        works.wake("submit")

    def to_look_at() -> None:
        works.wake("reconcile")

    generations = Generations(
        database,
        clock,
        queue=Queue(most=settings.queue),
        ordered=to_submit,
        called_off=to_look_at,
    )
    core = Core(
        database=database,
        aside=aside,
        backend=backend,
        store=store,
        clock=clock,
        accounts=accounts,
        uploads=uploads,
        front=Front(
            database,
            backend,
            store,
            clock,
            accounts=accounts,
            generations=generations,
            uploads=uploads,
            offer=offer,
            prices=prices,
            limits=parts.limits,
            private_webhooks=settings.private_webhooks,
            fake=parts.fake,
        ),
        submitter=Submitter(
            aside,
            backend,
            uploads,
            clock,
            offer=offer,
            times=times,
            hook=hook,
            leaving=works.closing,
        ),
        reconciler=Reconciler(
            aside, backend, store, clock, times=times, woken=to_submit, leaving=works.closing
        ),
        incoming=Incoming(database, clock, ttl=times.deadline, woken=to_look_at),
        outbox=Outbox(
            aside,
            clock,
            send=sender(allow_private=settings.private_webhooks),
            count=None if counts is None else counts.webhook,
            leaving=works.closing,
        ),
        works=works,
    )
    loops.add(
        Loop(name="submit", turn=core.submitter.turn, every=IDLE),
        Loop(
            name="reconcile",
            turn=core.reconciler.turn,
            every=RECONCILE,
            first=core.reconciler.check_all,  # whatever was missed
        ),
        Loop(name="webhooks", turn=core.outbox.deliver_due, every=WEBHOOKS),
        Loop(name="sweep", turn=core.sweep, every=SWEEP),
    )
    return core
