"""The parity checkpoints, written once a session."""

from pathlib import Path

import pytest

from tests.parity import maker
from tests.parity.cases import VERSIONS


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one subfolder per generation."""
    root = tmp_path_factory.mktemp("checkpoints")
    for version in VERSIONS:
        (root / version).mkdir()
        for name in maker.files_of(version):
            maker.write(root / version, name)
    return root
