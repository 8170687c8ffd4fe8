"""A gateway as an app for each test."""

import io
import shutil

import pytest
from PIL import Image

from tests.gateway.api.site import Site


@pytest.fixture
def database(sqlite, tmp_path):
    """Where a site keeps its rows: SQLite in its folder, but for modules that take both kinds."""
    file = tmp_path / "gateway.db"
    shutil.copyfile(sqlite, file)
    return f"sqlite:///{file}"


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
