"""The whole gateway as an app: the core with its loops, the API, the facade and the studio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from gateway.apart import Apart, Main
from gateway.api import hints, webhook_secrets
from gateway.api.application import House, api_app, guards_of
from gateway.api.limits import Rate
from gateway.core import Core, build
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.stores import Store
from gateway.studio.routes import open_studio
from gateway.webhooks.outgoing.kept_secrets import KeptSecrets

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create_app(
    parts: Parts, *, local_account: str | None = None, apart: Main | None = None
) -> FastAPI:
    """The app; its gateway is `state.core`. The loops run while it is served: in this process, or
    in one of their own, whose main function `apart` is.

    `local_account` is the name of the one account of a studio that is this machine's alone: who
    comes is logged in, and only names of the loopback are answered.
    """
    metrics = Metrics(lambda: core.front.levels(), loops=lambda: core.works.alive)
    works = None if apart is None else Apart(apart, metrics)
    core = build(parts, counts=metrics, works=works)
    settings, works = parts.settings, core.works
    secure = urlsplit(settings.public_url or "").scheme == "https"
    house = House(
        hosts=LOOPBACK if local_account is not None else (),
        media_hosts=media_hosts(core.store),
        metrics_key=settings.metrics_key,
        secure=secure,
        account_rate=Rate(
            per_minute=settings.calls_per_minute, burst=max(1, settings.calls_per_minute // 3)
        ),
    )
    guards = guards_of(core.front, house, metrics)
    studio = open_studio(
        core.front,
        secure=secure,
        local_key=local_key(core, local_account),
        public_url=settings.public_url,
        now=parts.clock.now,
        called=guards.called,
        guessed=guards.guessed,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(works.start)
        try:
            yield
        finally:
            await run_in_threadpool(core.close)

    app = api_app(
        guards,
        house,
        more=(
            hints.router(core.incoming),
            webhook_secrets.router(KeptSecrets(core.database)),
            studio.routes,
        ),
        page=studio.refused,
        working=lambda: works.alive or works.closing(),
        lifespan=lifespan,
    )
    app.state.core = core
    return app


def media_hosts(store: Store) -> tuple[str, ...]:
    """The origins that a store links to; none where files come through the gateway."""
    link = store.video("gen_0", download_as="video.mp4")
    if not isinstance(link, str):
        return ()
    parts = urlsplit(link)
    return (f"{parts.scheme}://{parts.netloc}",)


def local_key(core: Core, account: str | None) -> str | None:
    """A new key of the local account, which is made where it is not there; None without one."""
    if account is None:
        return None
    known = [each for each, _, _ in core.accounts.all() if each.name == account]
    owner = known[0] if known else core.accounts.create(account)
    return core.accounts.new_key(owner.id, "this machine's studio").key
