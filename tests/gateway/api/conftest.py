"""A gateway as an app for each test."""

import io

import pytest
from PIL import Image

from tests.gateway.api.drawn import COUNT
from tests.gateway.api.site import Site, Visitor


def pytest_addoption(parser):
    parser.addoption(COUNT, type=int, metavar="N", help="cases to draw in each test that draws")


@pytest.fixture
def database(database_url):
    """Where a site keeps its rows: each test is for both kinds."""
    return database_url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_database(request):
    """The same for sites that a whole module shares; None is SQLite in the site's folder."""
    if request.param == "sqlite":
        return None
    server, template = request.getfixturevalue("postgres")
    return server.url(server.create(template))


@pytest.fixture
def site(tmp_path, database):
    made = Site(tmp_path, database=database)
    yield made
    made.close()


@pytest.fixture
def client(site):
    return site.client


@pytest.fixture(scope="module")
def busy_site(module_database, tmp_path_factory):
    """A site with a past and credits for whatever is drawn, on each kind of database."""
    made = Site(
        tmp_path_factory.mktemp("site"),
        database=module_database,
        calls_per_minute=1_000_000,
        queue=10_000,
    )
    made.core.accounts.grant(made.account.id, 1_000_000, "for many videos")
    made.runpod.enhanced = "{prompt}, at dusk"
    made.finished()
    yield made
    made.close()


@pytest.fixture(scope="module")
def visitor(busy_site):
    """A browser that is signed in there."""
    return Visitor(busy_site)


@pytest.fixture
def picture():
    """A PNG of 96 × 64 pixels."""
    written = io.BytesIO()
    Image.new("RGB", (96, 64), (30, 90, 160)).save(written, "PNG")
    return written.getvalue()
