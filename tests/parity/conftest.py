"""The parity checkpoints, written once a run."""

from pathlib import Path

import pytest

from tests.once import made_once
from tests.parity import maker
from tests.parity.cases import VERSIONS


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with one subfolder per generation."""

    def write(root: Path) -> None:
        for version in VERSIONS:
            (root / version).mkdir(exist_ok=True)
            for name in maker.files_of(version):
                maker.write(root / version, name)

    return made_once(tmp_path_factory, worker_id, "checkpoints", write)
