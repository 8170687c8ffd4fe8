"""A sample desk under a clock that tests advance, the studio over it, and a browser before it."""

import re
import shutil
import threading

import pytest
import uvicorn
from starlette.testclient import TestClient

from gateway import cookies
from tests.gateway.studio.hand_clock import HandClock
from tests.gateway.studio.sample_app import create_app, with_history
from tests.gateway.studio.sample_desk import KEY, SampleDesk

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 30_000  # milliseconds; a page looks after its videos once a second


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def desk(clock):
    """An account with 500 credits and no past."""
    return SampleDesk(clock.now)


@pytest.fixture
def past(desk, clock):
    """The same with some days of work."""
    return with_history(desk, clock.now())


@pytest.fixture
def client(desk):
    """A browser without script, signed in."""
    with TestClient(create_app(desk), follow_redirects=False) as client:
        client.post("/sign-in", data={"key": KEY, "next": "/"})
        yield client


class Served(uvicorn.Server):
    """The studio at a real port, in a thread."""

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.ready = threading.Event()
        self.thread.start()
        assert self.ready.wait(30), "the studio did not start"
        return self

    def __exit__(self, *_):
        self.should_exit = True
        self.force_exit = True
        self.thread.join(30)

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.ready.set()

    @property
    def url(self):
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"


class Lent:
    """An app that stands for the one that a test puts in its place."""

    app = None

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def served():
    """A server for all tests of a process, and what it serves."""
    lent = Lent()
    settings = uvicorn.Config(lent, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    with Served(settings) as server:
        yield server, lent


@pytest.fixture
def site(served, desk):
    """The address of a studio whose visitors pay."""
    server, lent = served
    lent.app = create_app(desk)
    return server.url


# Of a file and not of all: its driver keeps an event loop in this thread, where no other then runs.
@pytest.fixture(scope="module")
def chromium():
    """A browser of this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is on the path")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox; the tests load no page but ours.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site, desk):
    """Opens pages, each as a new visitor who is signed in. Anything a page complains of fails the
    test.
    """
    yield from visitor_of(chromium, site, token=desk.login(KEY).token)


@pytest.fixture
def strangers(chromium, site):
    """The same for visitors whom nobody knows."""
    yield from visitor_of(chromium, site)


@pytest.fixture
def at_home(chromium, site, served, desk):
    """The same for a studio on one's own machine, where nobody pays."""
    served[1].app = create_app(desk, local=True)
    yield from visitor_of(chromium, site)


def visitor_of(chromium, site, token=None):
    """What `visit` is, for another address; `token` is of a login."""
    opened, complaints = [], []

    def open_page(path="/", *, width=1280, height=900, **settings):
        context = chromium.new_context(
            viewport={"width": width, "height": height}, base_url=site, **settings
        )
        context.set_default_timeout(PATIENCE)
        if token is not None:
            context.add_cookies([{"name": cookies.LOGIN, "value": token, "url": site}])
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.extend(serious(said)))
        page.goto(path)
        return page

    yield open_page
    for context in opened:
        context.close()
    assert complaints == []


def serious(said):
    """What a console says against a page; what is refused and shown is none of it."""
    refused = "Failed to load resource" in said.text and (
        re.search("status of (4|503)", said.text) or "net::ERR_FAILED" in said.text
    )
    return [said.text] if said.type == "error" and not refused else []
