"""What tests of the synthetic world and of its training share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text encoder's folder."""
    from tiny.text_encoder import write_text_encoder

    folder = tmp_path_factory.mktemp("tiny") / "text_encoder"
    write_text_encoder(folder)
    return folder
