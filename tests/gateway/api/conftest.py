"""A gateway as an app for each test."""

import io

import pytest
from PIL import Image

from tests.gateway.api.site import Site


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
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
