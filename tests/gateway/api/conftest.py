"""A gateway as an app for each test."""

import io

import pytest
from PIL import Image

from tests.gateway.api.site import Site


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


@pytest.fixture
def picture():
    """A PNG of 96 × 64 pixels."""
    written = io.BytesIO()
    Image.new("RGB", (96, 64), (30, 90, 160)).save(written, "PNG")
    return written.getvalue()
