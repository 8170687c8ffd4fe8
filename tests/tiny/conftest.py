"""What tests of the synthetic world and of its training share."""

from pathlib import Path

import pytest

from tests.once import made_once


@pytest.fixture(scope="session")
def tiny_text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text encoder's folder."""
    from tiny.text_encoder import write_text_encoder

    folder = tmp_path_factory.mktemp("tiny") / "text_encoder"
    write_text_encoder(folder)
    return folder


@pytest.fixture(scope="session")
def untrained_family(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The whole family with weights as they are before training. Tests leave it as it is."""
    from tiny.export import export_untrained

    family = made_once(
        tmp_path_factory, worker_id, "family", lambda folder: export_untrained(folder / "untrained")
    )
    return family / "untrained"
